"Write README.md (pictures in README_files/) from nbs/index.ipynb; nbdev_readme would need the Quarto program."
import re, shutil
from pathlib import Path

import nbformat
from nbconvert import MarkdownExporter

root = Path(__file__).resolve().parent.parent
nb = nbformat.read(root/'nbs'/'index.ipynb', 4)
nb.metadata.language_info = dict(name='python')
body, resources = MarkdownExporter().from_notebook_node(nb, resources=dict(output_files_dir='README_files'))
assert resources['outputs'], 'no picture in index.ipynb: run it first'
folder = root/'README_files'
shutil.rmtree(folder, ignore_errors=True); folder.mkdir()
for name, data in resources['outputs'].items(): (root/name).write_bytes(data)
body = re.sub(r'\n{3,}', '\n\n', body).strip() + '\n'
(root/'README.md').write_text('<!-- Made from nbs/index.ipynb by tools/readme.py -->\n\n' + body, encoding='utf-8')
