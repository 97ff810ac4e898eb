"""Write README.ko.md from README.md and the translations in tools/readme.ko.txt; `--check` fails if the two READMEs do not correspond.

Code, outputs, pictures, links and the rows of tables are README.md's own. What is translated (headings, paragraphs, list items, cells of tables) is looked up by
its English text; line breaks do not matter. A text without translation, or one whose links, code or numbers differ from the English, is an error that shows it.

tools/readme.ko.txt: an English text after `<<<`, its translation after `===`, the end `>>>`."""
import difflib, re, sys
from collections import Counter
from pathlib import Path

root = Path(__file__).resolve().parent.parent
link = re.compile(r'\]\(([^)\s]+)[^)]*\)')
head = '<!-- Made from README.md by tools/readme_ko.py; translations in tools/readme.ko.txt -->'

def plain(text): return ' '.join(text.split())

def blocks(text):
    "[(kind, text)] of a README: code, output, table, heading, item, keep (pictures, badges, comments) and paragraph; `blank` between them"
    out, lines, i = [], text.split('\n'), 0
    while i < len(lines):
        l, j = lines[i], i+1
        if l.startswith('```'):
            while not lines[j].startswith('```'): j += 1
            j += 1; kind = 'code'
        elif l.startswith('    ') or l.startswith('![') or (l.startswith('<') and not l.startswith('<http')): kind = 'keep'
        elif not l.strip(): kind = 'blank'
        elif l.startswith('#'): kind = 'heading'
        elif l.startswith('|'): kind = 'row'
        elif plain(re.sub(r'\[?!\[[^\]]*\]\([^)]*\)(\]\([^)]*\))?', '', l)) == '': kind = 'keep'   # badges
        else:
            kind = 'item' if re.match(r'([-*]|\d+\.) ', l) else 'paragraph'
            while j < len(lines) and lines[j].strip() and not re.match(r'```|#|\||([-*]|\d+\.) |    ', lines[j]): j += 1
        out.append((kind, '\n'.join(lines[i:j]))); i = j
    return out

def translations(file):
    "{English: Korean}"
    out = {}
    for m in re.finditer(r'^<<<\n(.*?)\n===\n(.*?)\n>>>$', file.read_text(encoding='utf-8'), re.S | re.M): out[plain(m[1])] = m[2]
    return out

class Translator:
    "Looks texts up, and keeps what is missing or differs"
    def __init__(self, known): self.known, self.used, self.wrong = known, set(), []

    def text(self, en):
        if not re.search('[A-Za-z]', link.sub(']', en)): return en
        ko = self.known.get(plain(en))
        if ko is None:
            near = difflib.get_close_matches(plain(en), self.known, 1, 0.6)
            self.wrong.append(f'no translation of\n    {plain(en)}' + (f'\n  the nearest that there is, is of\n    {near[0]}' if near else '')); return en
        self.used.add(plain(en))
        for what, find in (('links', link.findall), ('code', re.compile(r'`[^`]+`').findall), ('numbers', re.compile(r'\d+(?:\.\d+)*').findall)):
            strip = (lambda s: s) if what == 'links' else (lambda s: re.sub(r'`[^`]+`', '', link.sub(']', s))) if what == 'numbers' else (lambda s: link.sub(']', s))
            a, b = Counter(find(strip(en))), Counter(find(strip(ko)))
            if a != b: self.wrong.append(f'{what} differ: {dict(a-b)} only in\n    {plain(en)}\n  {dict(b-a)} only in\n    {ko}')
        return ko

    def row(self, en):
        "A row of a table, cell by cell; a cell that is only a link stays"
        cells = [c.strip() for c in en.strip().strip('|').split('|')]
        return '| ' + ' | '.join(c if re.fullmatch(r'[-: ]*|\[[^\]]*\]\([^)]*\)', c) else self.text(c) for c in cells) + ' |' if any(cells) else en

    def block(self, kind, en):
        if kind in ('code', 'keep', 'blank'): return en
        if kind == 'row': return self.row(en)
        mark = re.match(r'#+ |> |[-*] |\d+\. |', en)[0]
        return mark + self.text(en[len(mark):])

def korean(english, t):
    "The Korean README"
    out = [t.block(*b) for b in blocks(english)]
    if not out[0].startswith("<!--"): raise SystemExit("README.md does not begin with its comment: run python tools/readme.py")
    out[0] = head
    return '\n'.join(out)

def shape(text):
    "What must be the same in both: {what: [in order]}"
    bs = blocks(text)
    return dict(headings=[re.match('#+', b)[0] for k, b in bs if k == 'heading'], code=[b for k, b in bs if k == 'code'], outputs=[b for k, b in bs[1:] if k == 'keep'],
                paragraphs=[k for k, _ in bs if k in ('paragraph', 'item')], rows=[b.count('|') for k, b in bs if k == 'row'],
                links=[u for k, b in bs if k not in ('code', 'keep') for u in sorted(link.findall(b))])

def check(english, ko):
    "Lines that say where the two READMEs do not correspond"
    a, b, out = shape(english), shape(ko), []
    for what in a:
        if a[what] == b[what]: continue
        i = next((i for i, (x, y) in enumerate(zip(a[what], b[what])) if x != y), min(len(a[what]), len(b[what])))
        at = lambda v: v[i] if i < len(v) else 'nothing'
        out.append(f'{what}: README.md has {len(a[what])}, README.ko.md {len(b[what])}; the first that differs is number {i+1}:\n    {at(a[what])}\n    {at(b[what])}')
    return out

def main():
    english, file = (root/'README.md').read_text(encoding='utf-8'), root/'README.ko.md'
    t = Translator(translations(root/'tools'/'readme.ko.txt'))
    ko = korean(english, t)
    wrong = t.wrong + check(english, ko)
    if '--check' in sys.argv and not wrong:
        there = file.read_text(encoding='utf-8') if file.exists() else ''
        wrong += check(english, there) or ([] if there == ko else ['README.ko.md is not what its translations give: run python tools/readme_ko.py'])
    if wrong: raise SystemExit('README.ko.md:\n' + '\n'.join(f'- {w}' for w in wrong))
    for en in set(t.known)-t.used: print(f'not used any more: {en[:100]}')
    if '--check' not in sys.argv: file.write_text(ko, encoding='utf-8'); print('README.ko.md written')

if __name__ == '__main__': main()
