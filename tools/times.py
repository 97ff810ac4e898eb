"""Write into each notebook how long it runs: `python tools/times.py LOG…`

Two kinds of line are read, wherever they stand in a log:

    10_scorer.ipynb: 71 secs                    nbdev_test --timing; notebooks that look at IN_TEST are reduced there, so for them it does not count
    nbs/10_scorer.ipynb 101.2 s                 a whole run (the path may be absolute); FAILED before it, or a count of failures above 0 after it, and it does not count

A whole run wins over a test, a later line over an earlier one. A training that went on from its checkpoints took less than the training did:
the minutes that its progress line says it took in all are the least that is stated. What the logs do not know is left as it is. The line goes into a cell of its own after the first."""
import argparse, json, re
from pathlib import Path

root = Path(__file__).resolve().parent.parent
line = re.compile(r'\*About [^*\n"]{1,40} on two CPU cores\.\*')
whole = re.compile(r'nbs/(\S+)\.ipynb (FAILED|([\d.]+) s\b(?: (\d+))?)')
test  = re.compile(r'(?:^|[\s/])([\w-]+)\.ipynb: (\d+) secs')
progress = re.compile(r'step (\d+)/\1 [^<\n]*?([\d.]+) min')

def in_words(seconds) -> str:
    "Rounded: to 10 s below two minutes, to minutes below two hours"
    if seconds < 115: return f'{max(round(seconds/10), 1)*10} s'
    return f'{round(seconds/60)} minutes' if seconds < 7200 else f'{seconds/3600:.1f} hours'

def read_logs(logs, names) -> tuple:
    "({name: seconds} of whole runs, {name: seconds} of tests); names are paths below nbs without .ipynb"
    full, tested, failed = {}, {}, set()
    for text in (Path(f).read_text(encoding='utf-8', errors='replace') for f in logs):
        for m in whole.finditer(text):
            if m[2] == 'FAILED': failed.add(m[1])
            elif m[1] in failed or int(m[4] or 0): failed.discard(m[1])
            else: full[m[1]] = float(m[3])
        for stem, s in test.findall(text):
            fits = [n for n in names if n.rpartition('/')[2] == stem]
            if len(fits) > 1: raise SystemExit(f'{stem}.ipynb may be any of {", ".join(fits)}; give a log with paths')
            if fits: tested[fits[0]] = float(s)
    return full, tested

def seconds_of(name, nb, full, tested):
    "What is known of a notebook's time, or None"
    source, outputs = ''.join(''.join(c['source']) for c in nb['cells']), json.dumps([c.get('outputs', []) for c in nb['cells']])
    known = full.get(name) or (tested.get(name) if 'IN_TEST' not in source else None)
    trained = sum(60*float(m) for _, m in progress.findall(outputs))
    return max(known, trained) if known else trained if trained > 120 and not line.search(json.dumps(nb, ensure_ascii=False)) else None

def stated(text, seconds, ipynb=True) -> str:
    "The notebook (as JSON, or as text with %%% between cells) with the time in it"
    new = f'*About {in_words(seconds)} on two CPU cores.*'
    if line.search(text): return line.sub(new, text, count=1)
    if not ipynb: first, mark, rest = text.partition('\n%%%\n'); return f'{first}\n%%%m\n{new}{mark}{rest}'
    nb = json.loads(text)
    nb['cells'].insert(1, dict(cell_type='markdown', id='time', metadata={}, source=[new]))
    return json.dumps(nb, indent=1, ensure_ascii=False, sort_keys=True)+'\n'

def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('logs', nargs='+'); p.add_argument('--text', help='also a folder with the notebooks as text (NAME.nb)')
    args = p.parse_args()
    files = {f.relative_to(root/'nbs').with_suffix('').as_posix(): f for f in sorted((root/'nbs').rglob('*.ipynb'))
             if not any(part[0] in '_.' for part in f.relative_to(root/'nbs').parts) and f.stem != 'index'}   # index is the README
    full, tested = read_logs(args.logs, files)
    for name, f in files.items():
        text = f.read_text(encoding='utf-8')
        seconds = seconds_of(name, json.loads(text), full, tested)
        if seconds is None: print(f'{name:24} no time in the logs'); continue
        kind = 'whole run' if seconds == full.get(name) else 'test' if seconds == tested.get(name) else 'its progress line'
        print(f'{name:24} {in_words(seconds):>12}   {seconds:7.0f} s, {kind}')
        f.write_text(stated(text, seconds), encoding='utf-8')
        source = args.text and Path(args.text)/f'{name}.nb'
        if source and source.exists(): source.write_text(stated(source.read_text(encoding='utf-8'), seconds, ipynb=False), encoding='utf-8')

if __name__ == '__main__': main()
