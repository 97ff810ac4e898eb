"Write README.md (pictures in README_files/) from nbs/index.ipynb; nbdev_readme would need the Quarto program."
import re, shutil
from pathlib import Path

import nbformat
from nbconvert import MarkdownExporter

root = Path(__file__).resolve().parent.parent
site = 'https://midu-guidance.github.io/midu/'
nb = nbformat.read(root/'nbs'/'index.ipynb', 4)
nb.metadata.language_info = dict(name='python')
alts = []                                      # of the pictures, in order

def prepared(cell):
    "A code cell without its options; `echo: false`: only what it gives, `fig-alt`: what its picture shows"
    options = dict(re.findall(r'(?m)^#\|\s*([\w-]+):\s*(.+)$', cell.source))
    alts.extend(options.get('fig-alt', 'a picture').strip('"') for o in cell.outputs if 'image/png' in o.get('data', {}))
    if options.get('echo') == 'false': cell.metadata['transient'] = dict(remove_source=True)
    cell.source = re.sub(r'(?m)^#\|.*\n', '', cell.source)

for c in nb.cells:
    if c.cell_type == 'code': prepared(c)

def target(m):
    "A link of the notebook as one of the README: pages of the site, pictures at their place in the repository"
    path, anchor = (m[2].split('#')+[''])[:2]
    assert (root/'nbs'/path).exists(), f'index.ipynb links to {path}, which does not exist'
    if not path.endswith('.ipynb'): return f'{m[1]}nbs/{m[2]})'
    folder, name = ('/'+path).rsplit('/', 1)
    page = f'{folder}/{re.sub(r"^[0-9]+[a-zA-Z0-9]*_", "", name)[:-6]}.html'.lstrip('/')
    return f'{m[1]}{site}{page}{"#"+anchor if anchor else ""})'

for c in nb.cells:
    if c.cell_type == 'markdown': c.source = re.sub(r'(\]\()(?!\w+:|#)([^)\s]+)\)', target, c.source)
body, resources = MarkdownExporter().from_notebook_node(nb, resources=dict(output_files_dir='README_files'))
assert resources['outputs'], 'no picture in index.ipynb: run it first'
folder = root/'README_files'
shutil.rmtree(folder, ignore_errors=True); folder.mkdir()
for name, data in resources['outputs'].items(): (root/name).write_bytes(data)
body = re.sub(r'!\[png\]', lambda m: f'![{alts.pop(0)}]', body)
body = re.sub(r'\n{3,}', '\n\n', body).strip() + '\n'
(root/'README.md').write_text('<!-- Made from nbs/index.ipynb by tools/readme.py -->\n\n' + body, encoding='utf-8')
