"""The evaluator and the table page in a real browser: 20 choices by click, tap and key in JupyterLab and through Voilà, with a reload in the middle; the study must hold exactly these.

Needs: pip install playwright jupyterlab "midu[study]", and a Chromium (Debian's `chromium`, or `playwright install chromium`). Writes screenshots and prints what it saw."""
import json, os, random, shutil, signal, socket, subprocess, sys, tempfile, time, urllib.error, urllib.request
from pathlib import Path
import numpy as np
from fastcore.script import call_parse
from PIL import Image
from playwright.sync_api import sync_playwright
from midu.study import Study, attention_checks

flags = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync']
keys = dict(left='ArrowLeft', right='ArrowRight', tie='ArrowDown', skip='s')

def pictures(n):
    "Pictures that need no model: the package's postcards"
    from midu.postcards import load_pictures
    ds = load_pictures()
    return [(ds[i]['caption'], ds[i]['image'], ds[i+1]['image']) for i in range(0, 40*n, 40)]

def make_study(file):
    "16 pairs, 2 repeats, 2 checks: 20 trials a rater"
    pairs = [dict(prompt=p, a=a, b=b, arm_a='guided', arm_b='unguided', scale_a=20., scale_b=0.) for p, a, b in pictures(16)]
    pairs[3]['prompt'] += ' <img src=x onerror="window.hacked=1">'
    return Study(file, pairs, attention_checks(pairs, 2), repeats=0.125)

def free_port():
    with socket.socket() as s: s.bind(('127.0.0.1', 0)); return s.getsockname()[1]

def wait_for(url, process, seconds=60):
    for _ in range(seconds*5):
        if process.poll() is not None: raise RuntimeError(f'the server ended with {process.returncode}')
        try: return urllib.request.urlopen(url, timeout=5)
        except urllib.error.HTTPError as e: return e
        except OSError: time.sleep(0.2)
    raise TimeoutError(url)

def trial(page): return page.locator('.midu-evaluator [data-trial]').first.get_attribute('data-trial')

def choose(page, what, how):
    "One answer, and wait until the next trial is there"
    before = trial(page)
    if how == 'key': page.keyboard.press(keys[what])
    elif how == 'picture': getattr(page.locator(f'.midu-pic[data-choice={what}]').first, 'tap' if page.touch else 'click')()
    elif how == 'double': page.locator(f'.midu-{what}').first.dblclick()
    else: getattr(page.locator(f'.midu-{what}').first, 'tap' if page.touch else 'click')()
    page.wait_for_function('t => {const e=document.querySelector(".midu-evaluator [data-trial]"); return e && e.dataset.trial !== t}', arg=before, timeout=15000)

def answer(page, rng, n, log):
    "`n` answers in all ways"
    for _ in range(n):
        what = rng.choice(['left', 'right', 'left', 'right', 'tie', 'skip'])
        how = rng.choice(['key', 'button', 'picture', 'double'] if what in ('left', 'right') else ['key', 'button'])
        if page.touch: how = 'picture' if what in ('left', 'right') else 'button'
        choose(page, what, how); log.append((what, how))

def undo(page, log, how):
    before = trial(page)
    if how == 'key': page.keyboard.press('u')
    else: page.locator('.midu-undo').first.click()
    page.wait_for_function('t => document.querySelector(".midu-evaluator [data-trial]").dataset.trial !== t', arg=before, timeout=15000); log.pop()

def check(study, rater, log):
    "The study holds exactly what was pressed"
    time.sleep(1)
    df = study.choices(); df = df[df.rater == rater]
    assert list(df.answer) == [w for w, _ in log] and list(df.position) == list(range(len(log))), (rater, list(df.answer), log)
    ways = {h: sum(x == h for _, x in log) for h in dict.fromkeys(h for _, h in log)}
    print(f'{rater}: the study holds exactly the {len(log)} choices made, {ways}; median {df.seconds.median():.2f} s', flush=True)

def new_page(browser, **kwargs):
    page = browser.new_context(viewport=dict(width=1100, height=900), **kwargs).new_page() if 'viewport' not in kwargs else browser.new_context(**kwargs).new_page()
    page.touch = bool(kwargs.get('has_touch')); page.on('dialog', lambda d: d.accept()); page.set_default_timeout(60000)
    return page

def in_lab(browser, folder, out):
    "JupyterLab: a notebook with one cell"
    study, port, rng, log = make_study(folder/'lab.db'), free_port(), random.Random(0), []
    cell = dict(cell_type='code', id='one', metadata={}, outputs=[], execution_count=None, source="from midu import Evaluator\nEvaluator('lab.db', 'lab')")
    (folder/'evaluate.ipynb').write_text(json.dumps(dict(nbformat=4, nbformat_minor=5, metadata=dict(kernelspec=dict(name='python3', display_name='Python 3')), cells=[cell])))
    server = subprocess.Popen([sys.executable, '-m', 'jupyter', 'lab', '--allow-root', '--no-browser', f'--port={port}', '--IdentityProvider.token=test', f'--ServerApp.root_dir={folder}',
                               '--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate', '--LabApp.news_url=None'], stdout=subprocess.DEVNULL, stderr=open(folder/'lab.log', 'w'))
    try:
        wait_for(f'http://127.0.0.1:{port}/api', server)
        page = new_page(browser); page.goto(f'http://127.0.0.1:{port}/lab/tree/evaluate.ipynb?token=test')
        def run():
            page.get_by_text('| Idle').first.wait_for()  # before that, what is run gets lost
            page.locator('.jp-CodeCell .cm-content').first.click(); page.keyboard.press('Shift+Enter'); page.locator('.midu-pic').first.wait_for()
        run(); choose(page, 'left', 'picture'); log.append(('left', 'picture'))  # a click first: then the keys belong to the widget
        answer(page, rng, 9, log); undo(page, log, 'key'); answer(page, rng, 1, log); page.screenshot(path=out/'lab.png')
        page.keyboard.press('Control+s'); time.sleep(1.5); page.reload()
        page.locator('.jp-CodeCell .cm-content').first.wait_for(); time.sleep(3)
        live = page.locator('.midu-pic').count() > 0; print('JupyterLab after the reload:', 'the widget came back by itself' if live else 'the cell was run again')
        if not live: run()
        choose(page, 'right', 'button'); log.append(('right', 'button'))
        answer(page, rng, 9, log); page.locator('.midu-end').first.wait_for(); page.screenshot(path=out/'lab_end.png')
        assert page.evaluate('window.hacked') is None
        assert page.locator('.jp-Cell').count() <= 2, 'a key reached the notebook'
        check(study, 'lab', log)
    finally: server.terminate(); server.wait()

def in_voila(browser, folder, out):
    "midu_evaluate: a desktop and a phone at the same time"
    study, port, rng, log, tap = make_study(folder/'voila.db'), free_port(), random.Random(1), [], []
    code = f"from midu.commands import midu_evaluate; midu_evaluate({str(folder/'voila.db')!r}, port={port}, token='secret')"
    server = subprocess.Popen([sys.executable, '-c', code], stdout=open(folder/'voila.log', 'w'), stderr=subprocess.STDOUT, start_new_session=True)
    try:
        r = wait_for(f'http://127.0.0.1:{port}/', server); assert 'midu-evaluator' not in r.read().decode() and (r.status == 403 or 'login' in r.url or 'token' in r.url), (r.status, r.url)
        url = f'http://127.0.0.1:{port}/?token=secret'
        page, outside = new_page(browser), []
        near = f'http://127.0.0.1:{port}/', f'ws://127.0.0.1:{port}/', 'data:', 'blob:'
        page.on('request', lambda r: r.url.startswith(near) or outside.append(r.url)); page.on('websocket', lambda w: w.url.startswith(near) or outside.append(w.url))
        page.goto(url); page.locator('.midu-name input').wait_for(); page.screenshot(path=out/'voila_start.png')
        page.locator('.midu-name input').fill('desk'); page.keyboard.press('Enter'); page.locator('.midu-pic').first.wait_for()
        phone = new_page(browser, viewport=dict(width=390, height=844), has_touch=True, is_mobile=True, device_scale_factor=2)
        phone.goto(url); phone.locator('.midu-name input').fill('phone'); phone.locator('.midu-start').tap(); phone.locator('.midu-pic').first.wait_for()
        answer(page, rng, 10, log); answer(phone, rng, 6, tap); undo(page, log, 'button'); answer(page, rng, 1, log)
        page.screenshot(path=out/'voila.png'); phone.screenshot(path=out/'phone.png')
        wide = phone.evaluate('document.documentElement.scrollWidth'); assert wide <= 390, f'the page is {wide} pixels wide on a phone of 390'
        page.reload(); page.locator('.midu-pic').first.wait_for(); assert 'rater=desk' in page.url
        answer(page, rng, 10, log); page.locator('.midu-end').first.wait_for(); page.screenshot(path=out/'voila_end.png')
        answer(phone, rng, 14, tap); phone.locator('.midu-end').first.wait_for(); phone.screenshot(path=out/'phone_end.png')
        assert page.evaluate('window.hacked') is None
        check(study, 'desk', log); check(study, 'phone', tap); assert len(study.choices()) == 40
        assert not outside, outside; print('no request left the machine')
    finally:
        server.send_signal(signal.SIGTERM)
        try: server.wait(20)
        except subprocess.TimeoutExpired: os.killpg(server.pid, signal.SIGKILL); raise
    log = (folder/'voila.log').read_text().replace(url, ''); assert 'secret' not in log, log

def table_page(browser, folder, out):
    "The page of a table: no request to the net, sorting, enlarging by mouse and keyboard"
    from midu.table import Table
    rng = np.random.default_rng(0); ims = [a for _, a, b in pictures(24)]
    t = Table([dict(prompt=f'prompt {i} <b>', seed=0, scale=float(j), image=ims[(i+j) % 24], score=float(rng.random())) for i in range(20) for j in range(12)])
    t.to_html(folder/'table.html', title='A table of 20 × 12')
    page, asked = new_page(browser), []
    page.on('request', lambda r: r.url.startswith('data:') or asked.append(r.url)); page.goto((folder/'table.html').as_uri())
    col = lambda: [float(x) for x in page.eval_on_selector_all('tbody tr', 'rs => rs.map(r => r.children[4].dataset.score)')]
    page.locator('thead button').nth(4).click(); assert col() == sorted(col(), reverse=True); page.keyboard.press('Enter'); assert col() == sorted(col())
    page.screenshot(path=out/'table.png')
    page.locator('.pic').nth(0).click(); assert page.locator('dialog[open]').count() == 1; first = page.locator('dialog p').inner_text()
    page.keyboard.press('ArrowRight'); assert page.locator('dialog p').inner_text() != first; page.screenshot(path=out/'table_large.png')
    page.keyboard.press('Escape'); assert page.locator('dialog[open]').count() == 0
    page.keyboard.press('ArrowDown'); page.keyboard.press('Enter'); assert page.locator('dialog[open]').count() == 1
    assert page.locator('b').count() == 0 and asked == [(folder/'table.html').as_uri()], asked
    print('table page: sorted, enlarged by mouse and keyboard, no request to the net')

@call_parse
def main(
    out:str='browser', # Folder for screenshots
    only:str='' # 'lab', 'voila' or 'table'; none: all
):
    "Run all checks in headless Chromium"
    out = Path(out); out.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as p, tempfile.TemporaryDirectory() as folder:
        browser = p.chromium.launch(executable_path=shutil.which('chromium') or shutil.which('chromium-browser'), args=flags)
        for name, fn in (('table', table_page), ('voila', in_voila), ('lab', in_lab)):
            if only in ('', name):
                try: fn(browser, Path(folder), out)
                except Exception:
                    for i, page in enumerate(q for c in browser.contexts for q in c.pages): page.screenshot(path=out/f'failed_{name}_{i}.png')
                    for log in Path(folder).glob('*.log'): print(log.name, log.read_text()[-2000:])
                    raise
        browser.close()
    print('all as it should be')
