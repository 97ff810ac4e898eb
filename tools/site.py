"""The site, built from the notebooks and checked: `python tools/site.py --check` builds `_docs` without Quarto and opens every page in headless Chromium; `--quarto` renders with Quarto instead.

Needs `smalldocs` (Python 3.11 or newer) or Quarto for building, `playwright` and a Chromium for the browser's part of the check; without a Chromium that part is skipped, and says so."""
import ast, html, importlib, inspect, json, os, re, shutil, subprocess, sys, textwrap, threading, time
from collections import Counter
from functools import partial
from html.parser import HTMLParser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urldefrag, urljoin
import yaml
from execnb.nbio import mk_cell, read_nb, write_nb
from execnb.shell import CaptureShell
from fastcore.docments import docments
from fastcore.script import call_parse
from nbdev.config import get_config
from nbdev.process import Processor
from nbdev.processors import FilterDefaults, _default_exp, _is_showdoc, add_show_docs
from nbdev.quarto import refresh_quarto_yml
from nbdev.showdoc import BasicMarkdownRenderer, show_doc

root = Path(__file__).resolve().parent.parent
os.chdir(root); sys.path.insert(0, str(root))
cfg = get_config()
site = f"{cfg.doc_host}{cfg.doc_baseurl}/"
widths = 1280, 390

# ---- Building

def signature_of(f):
    "Make the names in string annotations known to `f`'s module, which imports them late (`-> 'datasets.Dataset'`)"
    while inspect.isfunction(f):
        try: return inspect.signature(f, eval_str=True)
        except NameError as e: f.__globals__[e.name] = importlib.import_module(e.name)

class split_title(Processor):
    "nbdev makes title and description of the first cell and drops its other lines: they become a cell of their own"
    def begin(self):
        first = self.nb.cells[0]
        m = re.match(r'# .+\n+(?:>.*\n*)?', first.source)
        if first.cell_type != 'markdown' or not m or not (rest := first.source[m.end():].strip()): return
        first.source = m[0].strip()
        self.nb.cells.insert(1, mk_cell(rest, 'markdown'))

class add_methods(Processor):
    "After a class its public methods that have a docstring, which nbdev documents only where they are patched in; and nothing private"
    def begin(self):
        cells, classes = [], {}
        for c in self.nb.cells:
            name = re.match(r'(?:#\|.*\n)*show_doc\(([\w.]+)', c.source) if _is_showdoc(c) else None
            if name and re.search(r'(^|\.)_', name[1]): continue
            cells.append(c)
            if name and (cls := classes.get(name[1])):
                for f in cls.body:
                    if isinstance(f, ast.FunctionDef) and f.name[0] != '_' and ast.get_docstring(f): cells.append(mk_cell(f'show_doc({cls.name}.{f.name})'))
            if c.cell_type == 'code' and 'export' in c.directives_:
                classes = {n.name: n for n in ast.parse(c.source).body if isinstance(n, ast.ClassDef)}
        for i, c in enumerate(cells): c.idx_ = i; c.directives_ = getattr(c, 'directives_', {})
        self.nb.cells = cells

class Tabled(BasicMarkdownRenderer):
    "A symbol's place in the source, signature, docstring, and a table of its parameters; nbdev 2.4 puts the comments into the signature, and no line into the link"
    def _repr_markdown_(self):
        file, sig = Path(inspect.getsourcefile(self.sym)).relative_to(root), self.sig or inspect.Signature()
        link = f'[source]({cfg.git_url}/blob/{cfg.branch}/{file}#L{inspect.getsourcelines(self.sym)[1]}){{target="_blank" style="float:right; font-size:smaller"}}'
        names = [str(p.replace(annotation=p.empty)) for p in sig.parameters.values()]
        call = f"{self.nm}({', '.join(names)})"
        if len(call) > 90: call = textwrap.fill(call, 90, subsequent_indent=' '*4, break_long_words=False)
        return '\n\n'.join(filter(None, ['---', link, f"{'#'*self.title_level} {self.nm}", f'```python\n{call}\n```', self.docs and f'*{self.docs}*', self.table(sig)]))

    def table(self, sig):
        try: notes = docments(self.sym, full=True, returns=True)
        except Exception: notes = {}
        cell = lambda o: html.escape(re.sub(r'\s+', ' ', str(o)), quote=False).replace('|', r'\|')
        kind = lambda a: '' if a in (None, inspect.Parameter.empty) else cell(inspect.formatannotation(a)).strip("'")
        rows = [(p.name, kind(p.annotation), '' if p.default is p.empty else f'`{p.default!r}`'.replace('|', r'\|'), cell((notes.get(p.name) or {}).get('docment') or ''))
                for p in sig.parameters.values() if p.name not in ('self', 'cls')]
        out = (notes.get('return') or {}).get('docment') or ''
        if sig.return_annotation not in (None, sig.empty) or out: rows.append(('**Returns**', kind(sig.return_annotation), '', cell(out)))
        if not any(r[1] or r[3] for r in rows): return ''
        return '\n'.join('| '+' | '.join(r)+' |' for r in [('', 'Type', 'Default', 'Details'), ('---',)*4, *rows])

class show_module_docs(Processor):
    "`show_doc` of the exported module, instead of nbdev's way: running all exported cells and every cell with an import in it, model loading and training loops too"
    def begin(self):
        if not (name := _default_exp(self.nb)): self.k = None; return
        module = importlib.import_module(f'{cfg.lib_name}.{name}')
        for o in list(vars(module).values()):
            for f in [o, *list(vars(o).values())] if inspect.isclass(o) else [o]:
                if getattr(f, '__module__', None) == module.__name__: signature_of(inspect.unwrap(f) if callable(f) else f)
        self.k = CaptureShell()
        self.k.user_ns.update({k: v for k, v in vars(module).items() if not k.startswith('__')})
        self.k.user_ns['show_doc'] = partial(show_doc, renderer=Tabled)

    def __call__(self, cell):
        if not self.k or not _is_showdoc(cell): return
        self.k.cell(cell)
        if self.k.exc: raise RuntimeError(f'{self.nb.path_}: {cell.source}') from self.k.exc

class Filters(FilterDefaults):
    def base_procs(self):
        new = dict(exec_show_docs=[show_module_docs], add_show_docs=[add_show_docs, add_methods])
        return [split_title] + [q for p in super().base_procs() for q in new.get(p.__name__, [p])]

def process(proc):
    "Notebooks as documents in `proc`: what `nbdev_proc_nbs` does, which without Quarto would try to install it, and this package with pip"
    shutil.rmtree(proc, ignore_errors=True); refresh_quarto_yml()
    for f in sorted(cfg.nbs_path.rglob('*')):
        rel = f.relative_to(cfg.nbs_path)
        if not f.is_file() or any(p[0] == '.' or p[0] == '_' and p != '_quarto.yml' for p in rel.parts): continue
        (proc/rel).parent.mkdir(parents=True, exist_ok=True)
        if f.suffix != '.ipynb': shutil.copy2(f, proc/rel); continue
        nb = read_nb(f); Filters()(nb); write_nb(nb, proc/rel)

def rename(proc):
    "smalldocs does not read `output-file`, nbdev's way to call 11_guidance.ipynb guidance.html: notebooks get that name, and links to them follow"
    new, link = (lambda m: m[1] + re.sub(r'^\d+[a-zA-Z0-9]*_', '', m[2])), re.compile(r'(\]\((?!\w+:)(?:[^)\s]*/)?)([^)\s/]+\.ipynb)')
    for f in [*proc.rglob('*.ipynb'), *proc.glob('*.yml')]:
        text = f.read_text(encoding='utf-8')
        if f.suffix == '.yml': text = re.sub(r'(?m)^(.*?[\s/])([^\s/]+\.ipynb)$', new, text); f.write_text(text, encoding='utf-8'); continue
        nb = json.loads(text)
        for c in nb['cells']:
            if c['cell_type'] == 'markdown':
                c['source'] = link.sub(new, ''.join(c['source']))
            for o in c.get('outputs', []):   # tables that code has made
                if 'text/markdown' in o.get('data', {}): o['data']['text/markdown'] = link.sub(new, ''.join(o['data']['text/markdown']))
        to = f.with_name(new([None, '', f.name]))
        f.unlink(); assert not to.exists(), f'{f} and another notebook would both become {to.name}'
        to.write_text(json.dumps(nb, ensure_ascii=False), encoding='utf-8')

def build(out, quarto=False):
    proc = root/'_proc'; process(proc)
    if quarto: subprocess.run(['quarto', 'render', str(proc), '--no-cache'], check=True)
    else:
        rename(proc)
        done = subprocess.run([sys.executable, '-m', 'smalldocs.cli', 'render', str(proc)], capture_output=True, text=True)
        known = 'is ignored', 'is not built', 'output-file is not read'
        print('\n'.join(l for l in (done.stdout+done.stderr).splitlines() if not any(k in l for k in known)))
        if done.returncode: sys.exit(f'smalldocs ended with {done.returncode}')
    shutil.rmtree(out, ignore_errors=True); shutil.move(proc/cfg.doc_path.name, out)

# ---- Links

class Page(HTMLParser):
    "Ids, links and pictures of a page"
    def __init__(self, file): super().__init__(); self.ids, self.links = set(), []; self.feed(file.read_text(encoding='utf-8'))
    def handle_starttag(self, tag, attrs):
        a = dict(attrs)
        self.ids |= {a[k] for k in ('id', 'name') if a.get(k)}
        self.links += [a[k] for k in ('href', 'src') if a.get(k) and not a[k].startswith('data:')]

def links_of_readme(file):
    text = file.read_text(encoding='utf-8')
    return re.findall(r'\]\(([^)\s]+)', text) + re.findall(r'(?:src|srcset|href)="([^"]+)"', text)

def dead(link, base, out, pages):
    "What is wrong with a link; None if nothing is, or if it leads elsewhere"
    url, anchor = urldefrag(urljoin(base, link))
    for prefix in (f'{cfg.git_url}/blob/{cfg.branch}/', f'{cfg.git_url}/tree/{cfg.branch}/', f'https://colab.research.google.com/github/{cfg.user}/{cfg.repo}/blob/{cfg.branch}/'):
        if url.startswith(prefix): return None if (root/unquote(url[len(prefix):])).exists() else 'no such file in the repository'
    if not url.startswith(cfg.doc_host): return
    if not f'{url}/'.startswith(site): return 'outside the site'
    name = unquote(url[len(site):]) or 'index.html'
    if not (out/name).is_file(): return 'reads 404'
    if anchor and name in pages and unquote(anchor) not in pages[name].ids: return 'no such anchor'

def check_links(out):
    "Every link, picture and anchor in the pages, the search index and the READMEs; every notebook in the sidebar"
    pages = {str(f.relative_to(out)): Page(f) for f in sorted(out.rglob('*.html'))}
    todo = [(name, l, site+name) for name, p in pages.items() for l in p.links]
    if (out/'search.json').exists(): todo += [('search.json', e['href'], site) for e in json.loads((out/'search.json').read_text(encoding='utf-8'))]
    problems = []
    for f in sorted(root.glob('README*.md')):
        for l in links_of_readme(f):
            if re.match(r'\w+:', l): todo.append((f.name, l, site))
            elif not (root/l.split('#')[0]).exists(): problems.append(f'{f.name}: {l} reads 404')
    problems += [f'{name}: {l} {why}' for name, l, base in todo if (why := dead(l, base, out, pages))]
    listed = set(re.findall(r'\S+\.ipynb', (cfg.nbs_path/'sidebar.yml').read_text()))
    there = {str(f.relative_to(cfg.nbs_path)) for f in cfg.nbs_path.rglob('*.ipynb') if not any(p[0] in '._' for p in f.relative_to(cfg.nbs_path).parts)}
    problems += [f'sidebar.yml: {f} is not listed' for f in sorted(there-listed)] + [f'sidebar.yml: {f} does not exist' for f in sorted(listed-there)]
    print(f'{len(todo)} links on {len(pages)} pages looked at')
    return sorted(set(problems)), list(pages)

# ---- The browser

# the page hides what overflows it, so the width of the document says nothing: what sticks out, and is in no box that scrolls?
overflow = """() => {
  const boxed = e => { for (let p = e; p && p !== document.body; p = p.parentElement) { const s = getComputedStyle(p); if (/auto|scroll/.test(s.overflowX) || s.position === 'fixed') return true } };
  const out = [...document.querySelectorAll('body *')].filter(e => { const r = e.getBoundingClientRect(); return r.width > 1 && r.height > 1 && r.right > innerWidth+1 && e.checkVisibility({visibilityProperty: true}) && !boxed(e) });
  return out.slice(0, 3).map(e => Math.round(e.getBoundingClientRect().right) + ' px: ' + e.outerHTML.slice(0, 100)) }"""
broken = """() => Promise.all([...document.images].map(i => { i.loading = 'eager'; return Promise.race([i.decode().then(() => null, () => i.src.slice(0, 120)), new Promise(f => setTimeout(f, 15000, i.src.slice(0, 120)))]) })).then(r => r.filter(x => x))"""
brightness = "() => getComputedStyle(document.body).backgroundColor.match(/[\\d.]+/g).slice(0, 3).reduce((a, b) => a + +b, 0)/765"
stub = '<svg xmlns="http://www.w3.org/2000/svg" width="100" height="20"><rect width="100" height="20" rx="3" fill="#888"/></svg>'

class Handler(SimpleHTTPRequestHandler):
    "The site below /midu/, as it is published, so that links from the root fail here too"
    def translate_path(self, path): return super().translate_path(path[len(cfg.doc_baseurl):] if path.startswith(cfg.doc_baseurl+'/') else '/no/such/page')
    def log_message(self, *args): pass

def visible(page, css): return next((e for e in page.locator(css).all() if e.is_visible()), None)

def check_search(page, base, word, hit, first=False):
    "Typing a word leads to a page that has it; `first`: before all others"
    page.goto(base+'index.html'); box = visible(page, '.smalldocs-search input')
    if not box: return ['search: no visible search box']
    box.fill(word)
    try: page.locator('.search-result').first.wait_for(timeout=10000)
    except Exception: return [f'search: nothing found for {word}']
    hrefs = [a.get_attribute('href') for a in page.locator('.search-result').all()]
    print(f'search for {word}: {len(hrefs)} results, first {hrefs[0]}')
    page.locator('.search-result').first.click(); page.wait_for_load_state()
    found = any(hit in h for h in (hrefs[:1] if first else hrefs))
    return [] if found and word in page.locator('main').text_content() else [f'search: {word} led to {hrefs}']

def check_dark(page, base):
    "The toggle makes the page dark, a reload keeps it so, and back"
    page.goto(base+'index.html'); seen = [page.evaluate(brightness)]
    for reload in (False, True, False):
        if reload: page.reload()
        elif (toggle := visible(page, '.quarto-color-scheme-toggle')): toggle.click()
        else: return ['dark mode: no visible toggle']
        page.wait_for_timeout(300); seen.append(page.evaluate(brightness))
    return [] if seen[0] > 0.8 and max(seen[1:3]) < 0.4 and seen[3] > 0.8 else [f'dark mode: brightness {seen}']

def open_page(page, url, shots=None):
    "Load one page, and measure it at both widths"
    problems = []
    page.set_viewport_size(dict(width=widths[0], height=900)); page.goto(url, wait_until='load')
    problems += [f'picture does not load: {s}' for s in page.evaluate(broken)]
    for w in widths:
        page.set_viewport_size(dict(width=w, height=900 if w > 600 else 844)); page.wait_for_timeout(700 if shots else 100)   # the sidebar slides
        if (wide := page.evaluate(overflow)): problems.append(f'overflows at {w} px: {wide}')
        if shots: page.screenshot(path=f'{shots}_{w}.png'); page.screenshot(path=f'{shots}_{w}_full.png', full_page=True)
    return problems

def find_chromium(): return next((p for n in ('chromium', 'chromium-browser', 'google-chrome', 'chrome') if (p := shutil.which(n))), None)

def check_browser(out, names, shots=None):
    "Every page in headless Chromium: console, pictures, widths; then search and dark mode"
    try: from playwright.sync_api import sync_playwright
    except ImportError: print('SKIPPED the browser: playwright is not installed'); return []
    if not (exe := find_chromium()): print('SKIPPED the browser: no Chromium on the path'); return []
    server = ThreadingHTTPServer(('127.0.0.1', 0), partial(Handler, directory=str(out)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    base, problems, outside = f'http://127.0.0.1:{server.server_port}{cfg.doc_baseurl}/', [], Counter()
    def other(route):
        r = route.request; outside[f"{r.resource_type} from {r.url.split('/')[2]}"] += 1
        route.fulfill(body=stub if r.resource_type == 'image' else '', content_type='image/svg+xml' if r.resource_type == 'image' else 'text/plain')
    with sync_playwright() as p:
        browser = p.chromium.launch(executable_path=exe, args=['--no-sandbox', '--disable-gpu', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'])
        page = browser.new_page(color_scheme='light')
        page.route(lambda u: u.startswith('http') and not u.startswith(base), other)
        page.on('console', lambda m: m.type == 'error' and problems.append(f"{page.url.split('/')[-1]}: console: {m.text[:200]}"))
        page.on('pageerror', lambda e: problems.append(f"{page.url.split('/')[-1]}: {str(e)[:200]}"))
        page.on('response', lambda r: r.status >= 400 and problems.append(f'{r.url} reads {r.status}'))
        for name in names:
            shot = shots and name in ('index.html', 'guidance.html', 'gallery.html') and Path(shots)/name[:-5]
            problems += [f'{name}: {w}' for w in open_page(page, base+name, shot)]
        page.set_viewport_size(dict(width=widths[0], height=900))
        problems += check_search(page, base, 'recommended_in_words', 'scorer.html') + check_search(page, base, 'guide', 'guidance.html', first=True)
        problems += check_dark(page, base)
        if shots:
            visible(page, '.quarto-color-scheme-toggle').click(); page.wait_for_timeout(300)
            for w in widths: page.set_viewport_size(dict(width=w, height=900)); page.wait_for_timeout(700); page.screenshot(path=Path(shots)/f'dark_{w}.png', full_page=True)
        browser.close()
    server.shutdown(); print(f'{len(names)} pages opened at {widths} px')
    if outside: print('from elsewhere, stubbed:', ', '.join(f'{n} × {k}' for k, n in outside.items()))
    return problems

@call_parse
def main(
    out:str='_docs', # Folder for the site
    quarto:bool=False, # Render with Quarto; otherwise with smalldocs
    check:bool=False, # Look at every link, and at every page in headless Chromium
    nobuild:bool=False, # Only check what is there
    shots:str='' # Folder for screenshots
):
    "Build the site, and check it"
    out, start = Path(out).resolve(), time.time()
    if not nobuild: build(out, quarto); print(f'built {out} in {time.time()-start:.0f} s')
    if not check: return
    problems, names = check_links(out)
    if shots: Path(shots).mkdir(parents=True, exist_ok=True)
    problems += check_browser(out, names, shots)
    print('\n'.join(dict.fromkeys(problems)) or 'no problems'); print(f'{time.time()-start:.0f} s in all')
    if problems: sys.exit(1)
