"Write llms.txt (llmstxt.org) from the notebooks and the library; `--check` fails if it is not what they give."
import ast, configparser, json, sys
from pathlib import Path

import yaml

root = Path(__file__).resolve().parent.parent
cfg = configparser.ConfigParser(); cfg.read(root/'settings.ini', encoding='utf-8'); cfg = cfg['DEFAULT']
site, git = f"https://{cfg['user']}.github.io/{cfg['repo']}", f"https://github.com/{cfg['user']}/{cfg['repo']}"

def first_cell(name):
    "Title and description of a notebook: its first heading, and the quoted line below"
    nb = json.loads((root/'nbs'/name).read_text(encoding='utf-8'))
    lines = ''.join(nb['cells'][0]['source']).splitlines()
    title = next((l[2:].strip() for l in lines if l.startswith('# ')), None)
    about = next((l[2:].strip() for l in lines if l.startswith('> ')), None)
    if not title or not about: raise SystemExit(f'{name} does not begin with a title (# …) and a description (> …)')
    module = next((s.split()[-1] for c in nb['cells'] for s in [''.join(c['source'])] if c['cell_type'] == 'code' and s.startswith('#| default_exp')), None)
    return title, about, module

def page(name):
    "Where a notebook's page is: nbdev drops the number from the file's name"
    folder, _, file = name.rpartition('/')
    stem = file.removesuffix('.ipynb')
    number, _, rest = stem.partition('_')
    return f"{site}/{folder+'/' if folder else ''}{rest if number.isdigit() else stem}.html"

def sections():
    "[(section, [notebook])] of the sidebar, in reading order"
    contents = yaml.safe_load((root/'nbs'/'sidebar.yml').read_text(encoding='utf-8'))['website']['sidebar']['contents']
    out, loose = [], []
    for c in contents:
        if isinstance(c, str): loose.append(c)
        elif 'section' not in c: loose.append(c['href'])
        else: out.append((c['section'], [n for n in c['contents'] if isinstance(n, str)]))
    return [('Start', loose), *out]

def symbols(module):
    "[(name, first line of its docstring)] of a module's public functions and classes"
    tree = ast.parse((root/'midu'/f'{module}.py').read_text(encoding='utf-8'))
    public = ast.literal_eval(next(n.value for n in tree.body if isinstance(n, ast.Assign) and getattr(n.targets[0], 'id', '') == '__all__'))
    docs = {n.name: (ast.get_docstring(n) or '').split('\n')[0] for n in tree.body if isinstance(n, (ast.FunctionDef, ast.ClassDef))}
    own = [k for k in docs if k in public]   # in the order of the notebook; a method added by @patch is not in __all__
    return [(k, docs[k]) for k in own]

def item(name, url, about): return f"- [{name}]({url})" + (f": {about}" if about else '')

def text():
    "The whole file"
    out, modules = [f"# {cfg['title']}", '', f"> {cfg['description']}.", ''], []
    out += ['midu puts a small classifier (a *scorer*) on an activation inside a diffusion model\'s UNet and takes its gradient there, in the same forward pass that predicts the noise. '
            'The library is exported from notebooks, which are its documentation; it ships a small text-to-image model, so that all of them run offline on a laptop.', '',
            f"- Install: `pip install .` in a clone of {git} (Python {cfg['min_python']} or later); the whole way once: `midu_demo`",
            '- Guide any pipeline: `with guide(pipe, scorer): image = pipe(prompt).images[0]`, at what the scorer recommends; `scale=.1, rule="share"` where it recommends nothing; a negative scale guides away',
            f"- Commands: {', '.join('`'+c.split('=')[0]+'`' for c in cfg['console_scripts'].split())}",
            '- All ratings that ship are simulated; the code and its figures say so wherever they are used.', '']
    for section, names in sections():
        out += [f'## {section}', '']
        for n in names:
            title, about, module = first_cell(n)
            out.append(item(title, page(n), about)); modules += [module] if module else []
        out.append('')
    for m in modules:
        out += [f'## midu.{m}', ''] + [item(k, f'{site}/{m}.html#{k.lower()}', doc) for k, doc in symbols(m)] + ['']
    out += ['## Optional', '', item('Source', git, 'the notebooks, the exported library, the tests'), item('Changes', f'{git}/blob/main/CHANGELOG.md', 'what each version brought'),
            item('Contributing', f'{git}/blob/main/CONTRIBUTING.md', 'how the notebooks become library, README and site')]
    return '\n'.join(out)+'\n'

if __name__ == '__main__':
    new, file = text(), root/'llms.txt'
    if '--check' in sys.argv:
        if not file.exists() or file.read_text(encoding='utf-8') != new: raise SystemExit('llms.txt is not what the notebooks give: run python tools/llms.py')
    else: file.write_text(new, encoding='utf-8'); print(f'{file.name}: {len(new.splitlines())} lines')
