"""`TasteExplorer` in a real browser: 20 choices by click and key in JupyterLab and through Voilà, by a rule that looks at the page's own pictures (the darker one). One is undone, the page reloaded and the kernel restarted in between; the saved scorer must say from how many choices it is, and like what is dark.

Needs: pip install playwright jupyterlab "midu[study]", and a Chromium (Debian's `chromium`, or `playwright install chromium`). Writes screenshots and prints what it saw."""
import json, os, shutil, signal, subprocess, sys, tempfile, time
from pathlib import Path
import numpy as np, torch
from fastcore.script import call_parse
from playwright.sync_api import sync_playwright
from browser_evaluator import flags, free_port, keys, new_page, trial, wait_for
from midu.scorer import load_scorer

n_pool, goal = 120, 20
evil = '<script>window.hacked=1</script><img src=x onerror="window.hacked=1">'

# the notebook that a browser sees: a cell for the widget, one button that saves the scorer
cell = f'''import json, os, numpy as np, ipywidgets as W
from pathlib import Path
from datasets import Dataset
from IPython.display import display
from midu.postcards import load_pictures
from midu.taste import TasteExplorer
Path('NAME.pid').write_text(str(os.getpid()))
known, captions = np.load('known.npz'), json.loads(Path('captions.json').read_text())
images = load_pictures('train').shuffle(seed=0).select(range({n_pool}))['image'][:]
e = TasteExplorer(images, known['x'], known['space'], captions, goal={goal}, file=KEPT,
                  question='Which one? {evil}')
def save(_): e.scorer().save_pretrained('NAME'); button.description = 'Saved'
button = W.Button(description='Save').add_class('save'); button.on_click(save)
display(e, button)'''

def prepare(folder):
    "What is known of the package's postcards, and in which ways tastes differ, as the notebook has it"
    from midu.features import extract
    from midu.postcards import load_pictures
    from midu.taste import random_tastes, store_quarters, taste_groups, taste_space
    from midu.world import load_pipeline
    ds = load_pictures('train').shuffle(seed=0).select(range(n_pool))
    store = extract(load_pipeline(), ds['image'][:], ds['caption'][:], [5]*n_pool, folder/'store', progress=False, timesteps=[50, 150])
    rows, at = store_quarters(store), store.picture.numpy()
    space = taste_space(rows, random_tastes(taste_groups(ds), 200)[at], k=16)
    np.savez(folder/'known.npz', x=np.stack([rows[at == i].mean(0) for i in range(n_pool)]), space=space)
    (folder/'captions.json').write_text(json.dumps([f'{c} {evil}' for c in ds['caption'][:]]))
    return np.array([np.asarray(im.convert('L')).mean() for im in ds['image'][:]])

def notebook(file, name, kept=True, cells=()):
    code = cell.replace('NAME', name).replace('KEPT', repr(f'{name}.json') if kept else 'None')
    made = [dict(cell_type='code', id=f'c{i}', metadata={}, outputs=[], execution_count=None, source=s) for i, s in enumerate([code, *cells])]
    kernel = dict(name='python3', display_name='Python 3', language='python')
    file.write_text(json.dumps(dict(nbformat=4, nbformat_minor=5, metadata=dict(kernelspec=kernel), cells=made)))

# --- what a person sees and does

brightness = '''images => images.map(im => {
  const c = document.createElement('canvas'); c.width = c.height = 64;
  const g = c.getContext('2d'); g.drawImage(im, 0, 0, 64, 64);
  const d = g.getImageData(0, 0, 64, 64).data; let sum = 0;
  for (let i = 0; i < d.length; i += 4) sum += .299*d[i] + .587*d[i+1] + .114*d[i+2];
  return sum/4096 })'''

def loaded(page): page.wait_for_function('''[...document.querySelectorAll('.midu-evaluator img')].every(i => i.complete && i.naturalWidth)''')
def pair(page): loaded(page); return page.locator('.midu-pic').evaluate_all(brightness)
def shown(page): return page.locator('.midu-pic').evaluate_all('x => x.map(i => i.src)')
def strip(page): return page.locator('.midu-evaluator img:not(.midu-pic)').evaluate_all('x => x.map(i => i.src)')
def count(page): return page.locator('.midu-head').inner_text().strip()
def is_at(page, n): assert count(page) == f'{n} of {goal} done', (count(page), n)

def act(page, what, how):
    "Press, and wait for the next pair"
    before = trial(page)
    if how == 'key': page.keyboard.press(keys.get(what, 'u'))
    elif how == 'picture': page.locator(f'.midu-pic[data-choice={what}]').click()
    else: page.locator(f'.midu-{what}').first.click()
    page.wait_for_function('t => {const e=document.querySelector(".midu-evaluator [data-trial]"); return e && e.dataset.trial !== t}', arg=before, timeout=15000)

def darker(page, first, n, strips):
    "`n` choices of the darker picture, one by click, one by key, one by button …; the count and the strip must follow"
    for i in range(first, first+n):
        left, right = pair(page)
        act(page, 'left' if left <= right else 'right', ('picture', 'key', 'button')[i % 3])
        is_at(page, i+1); strips.append(strip(page))
        assert len(strips[-1]) == 6, f'{len(strips[-1])} pictures in the strip'

def undo(page, n, strips, how):
    "One more choice, taken back: pair, count and strip are what they were"
    pair_, strip_ = shown(page), strip(page)
    act(page, 'right', 'picture'); is_at(page, n+1)
    act(page, 'undo', how); is_at(page, n)
    assert shown(page) == pair_ and strip(page) == strip_, 'undo leads elsewhere'

def nothing_learnt(page, n):
    "Equal and skip change neither count nor strip"
    strip_ = strip(page)
    for what in ('tie', 'skip'): act(page, what, 'key'); is_at(page, n)
    assert strip(page) == strip_

def escaped(page):
    "What a user typed stands there as text"
    assert page.evaluate('window.hacked') is None, 'a text from the user ran'
    text = page.locator('.midu-evaluator').first.inner_text()
    assert text.count(evil) >= 2 and page.locator('.midu-evaluator script, .midu-evaluator img[onerror]').count() == 0, text

def finished(page, folder, name, grey, strips, out):
    "Save by the button; the card, the file and the scorer itself must fit what was clicked"
    is_at(page, goal); escaped(page)
    changed = sum(a != b for a, b in zip(strips, strips[1:]))
    assert changed >= goal//4, f'the strip changed {changed} times'
    loaded(page); favourites = page.locator('.midu-evaluator img:not(.midu-pic)').evaluate_all(brightness)
    page.screenshot(path=out/f'taste_{name}.png', full_page=True)
    page.locator('.save').click(); page.get_by_text('Saved').wait_for()
    card = (folder/name/'README.md').read_text(); assert f'{goal} choices between two pictures by one person' in card, card
    head, known = load_scorer(folder/name), np.load(folder/'known.npz')['x']
    with torch.no_grad(): score = head.net[-1](torch.tensor(known, dtype=torch.float32))[:, 0].numpy()
    a, b = np.triu_indices(n_pool, 1); right = ((score[a]-score[b])*(grey[b]-grey[a]) > 0).mean()
    assert right > .6 and np.mean(favourites) < grey.mean(), (right, np.mean(favourites), grey.mean())
    print(f'{name}: the strip changed {changed} times; its pictures have a mean grey of {np.mean(favourites):.0f}, all {grey.mean():.0f} (of 255); the scorer from {goal} choices puts {right:.0%} of all pairs in the order of darkness', flush=True)

def watch(page, port):
    "The addresses elsewhere that a page asks for"
    outside, near = [], (f'http://127.0.0.1:{port}/', f'ws://127.0.0.1:{port}/', 'data:', 'blob:')
    for event in ('request', 'websocket'): page.on(event, lambda r: r.url.startswith(near) or outside.append(r.url))
    return outside

def quiet(page, pid):
    "With a kernel that does not answer, the page says so, and promises only what is kept"
    os.kill(pid, signal.SIGSTOP)
    try:
        page.locator('.midu-pic').first.click()
        return page.locator('.midu-asleep').inner_text(timeout=12000)
    finally: os.kill(pid, signal.SIGCONT)

# --- the two places

def in_lab(browser, folder, out, grey):
    port, strips = free_port(), []
    name = "from midu import Evaluator\nfrom midu.study import Study\nfrom browser_evaluator import make_study\nEvaluator(make_study('names.db'))"
    notebook(folder/'lab.ipynb', 'lab', cells=[name])
    env = dict(os.environ, PYTHONPATH=os.pathsep.join([str(Path(__file__).parent), os.environ.get('PYTHONPATH', '')]))
    server = subprocess.Popen([sys.executable, '-m', 'jupyter', 'lab', '--allow-root', '--no-browser', f'--port={port}', '--IdentityProvider.token=test', f'--ServerApp.root_dir={folder}',
                               '--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate', '--LabApp.news_url=None'], stdout=subprocess.DEVNULL, stderr=open(folder/'lab.log', 'w'), env=env)
    try:
        wait_for(f'http://127.0.0.1:{port}/api', server)
        page = new_page(browser); outside = watch(page, port)
        page.goto(f'http://127.0.0.1:{port}/lab/tree/lab.ipynb?token=test')
        def run(i=0):
            page.get_by_text('| Idle').first.wait_for()  # before that, what is run gets lost
            page.locator('.jp-CodeCell .cm-content').nth(i).click(); page.keyboard.press('Control+Enter')
            page.locator('.midu-pic' if i == 0 else '.midu-name input:visible').first.wait_for()
        run(); is_at(page, 0); assert not strip(page), 'a strip before the first choice'
        darker(page, 0, 8, strips); undo(page, 8, strips, 'key'); nothing_learnt(page, 8); darker(page, 8, 2, strips)
        page.keyboard.press('Control+s'); time.sleep(1.5); page.reload()
        page.locator('.jp-CodeCell .cm-content').first.wait_for(); time.sleep(3)
        live = page.locator('.midu-pic').count() > 0; print('JupyterLab after the reload:', 'the widget came back by itself' if live else 'the cell was run again')
        if not live: run()
        is_at(page, 10); assert strip(page) == strips[-1]
        act(page, 'undo', 'button'); act(page, 'undo', 'button'); is_at(page, 8); darker(page, 8, 6, strips)
        old = (folder/'lab.pid').read_text()
        page.get_by_role('menuitem', name='Kernel', exact=True).click(); page.get_by_role('menuitem', name='Restart Kernel and Clear Outputs', exact=False).click()
        page.locator('.jp-Dialog .jp-mod-accept').click(); page.locator('.midu-pic').first.wait_for(state='detached'); run()
        assert (folder/'lab.pid').read_text() != old, 'the kernel was not restarted'
        is_at(page, 14); assert strip(page) == strips[-1]
        print('JupyterLab after a restart of the kernel: 14 choices, the same strip')
        page.locator('.midu-pic').first.scroll_into_view_if_needed(); darker(page, 14, 6, strips)
        finished(page, folder, 'lab', grey, strips, out)
        assert 'is kept' in quiet(page, int((folder/'lab.pid').read_text()))
        assert page.locator('.jp-Cell').count() <= 3, 'a key reached the notebook'
        run(1); page.locator('.midu-name input:visible').fill(evil); page.keyboard.press('Enter')
        page.wait_for_function('document.querySelectorAll("[data-trial]").length > 1'); time.sleep(1)
        assert page.evaluate('window.hacked') is None, 'a name ran'
        assert not outside, outside; print('JupyterLab: a name and a prompt with a script in them are text; no request left the machine')
    finally: server.terminate(); server.wait()

def in_voila(browser, folder, out, grey):
    port, strips = free_port(), []
    notebook(folder/'voila.ipynb', 'voila'); notebook(folder/'unkept.ipynb', 'unkept', kept=False)
    def serve(name, port):
        code = f"from pathlib import Path; from midu.evaluator import _app, _config; _app(Path({str(folder/name)!r}), _config(False, {port}, 'secret', 10)).start()"
        return subprocess.Popen([sys.executable, '-c', code], stdout=open(folder/f'{name}.log', 'w'), stderr=subprocess.STDOUT, start_new_session=True)
    server = serve('voila.ipynb', port)
    try:
        wait_for(f'http://127.0.0.1:{port}/', server)
        page = new_page(browser); outside = watch(page, port)
        def go(n): page.goto(f'http://127.0.0.1:{port}/?token=secret'); page.locator('.midu-pic').first.wait_for(); is_at(page, n)
        go(0); assert not strip(page)
        darker(page, 0, 10, strips); undo(page, 10, strips, 'button'); nothing_learnt(page, 10)
        page.reload(); page.locator('.midu-pic').first.wait_for(); is_at(page, 10); assert strip(page) == strips[-1]
        print('Voilà after a reload, in a new kernel: 10 choices, the same strip')
        darker(page, 10, 10, strips); finished(page, folder, 'voila', grey, strips, out)
        assert not outside, outside; print('Voilà: no request left the machine')
    finally: end(server)
    port = free_port(); server = serve('unkept.ipynb', port)
    try:
        wait_for(f'http://127.0.0.1:{port}/', server); page = new_page(browser)
        page.goto(f'http://127.0.0.1:{port}/?token=secret'); page.locator('.midu-pic').first.wait_for(); darker(page, 0, 1, strips)
        text = quiet(page, int((folder/'unkept.pid').read_text())); assert 'kept' not in text, text
        print(f'without a file, a page whose kernel sleeps says only: {text}')
    finally: end(server)

def end(server):
    server.send_signal(signal.SIGTERM)
    try: server.wait(20)
    except subprocess.TimeoutExpired: os.killpg(server.pid, signal.SIGKILL); raise

@call_parse
def main(
    out:str='browser', # Folder for screenshots
    only:str='' # 'lab' or 'voila'; none: both
):
    "Run all checks in headless Chromium"
    out = Path(out); out.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as p, tempfile.TemporaryDirectory() as folder:
        folder = Path(folder); grey = prepare(folder)
        browser = p.chromium.launch(executable_path=shutil.which('chromium') or shutil.which('chromium-browser'), args=flags)
        for name, fn in (('voila', in_voila), ('lab', in_lab)):
            if only not in ('', name): continue
            try: fn(browser, folder, out, grey)
            except Exception:
                for i, page in enumerate(q for c in browser.contexts for q in c.pages): page.screenshot(path=out/f'failed_taste_{name}_{i}.png')
                for log in folder.glob('*.log'): print(log.name, log.read_text()[-2000:])
                raise
        browser.close()
    print('all as it should be')
