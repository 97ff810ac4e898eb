"""The page of `midu_page` in a real browser: a prompt typed and drawn, pixels and scores against `compare`, two tabs at once, HTML as a prompt, errors, a phone; and nothing asked of any other machine.

Needs: pip install playwright "midu[page]", and a Chromium (Debian's `chromium`, or `playwright install chromium`). Writes screenshots and prints what it saw."""
import base64, io, os, re, shutil, socket, subprocess, sys, tempfile, time, urllib.request
from pathlib import Path
import numpy as np
from fastcore.script import call_parse
from PIL import Image
from playwright.sync_api import sync_playwright
from midu import load_pipeline, load_scorer
from midu.searching import compare

flags = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync']
steps = 8
folder_name = 'my <b>own'   # of a second scorer

# In the server's process: every connection and every name that is asked for goes into a file.
server_code = """
import sys
near, log = ('127.0.0.1', '::1', 'localhost', '', None), open({log!r}, 'a', buffering=1)
def watch(event, args):
    if event == 'socket.getaddrinfo': place = args[0]
    elif event == 'socket.connect' and isinstance(args[1], tuple): place = args[1][0]
    else: return
    if isinstance(place, bytes): place = place.decode()
    print('near' if place in near else 'outside', event, place, file=log)
sys.addaudithook(watch)
from midu.page import midu_page
midu_page(port={port}, steps={steps}, at_once=2, waiting=2, scorer={scorers!r})
"""

def free_port():
    with socket.socket() as s: s.bind(('127.0.0.1', 0)); return s.getsockname()[1]

def wait_for(url, process, seconds=120):
    "Until somebody answers"
    for _ in range(seconds*5):
        if process.poll() is not None: raise RuntimeError(f'the server ended with {process.returncode}')
        try: return urllib.request.urlopen(url, timeout=5)
        except OSError: time.sleep(0.2)
    raise TimeoutError(url)

def new_page(browser, url, asked, **kwargs):
    "A tab; what it asks for goes into `asked`"
    page = browser.new_context(**(dict(viewport=dict(width=1000, height=900)) | kwargs)).new_page()
    page.set_default_timeout(60_000)
    page.on('request', lambda r: asked.append(r.url)); page.on('websocket', lambda w: asked.append(w.url))
    page.problems = []
    page.on('pageerror', lambda e: page.problems.append(str(e)))
    page.goto(url); page.get_by_label('Prompt').wait_for()
    return page

def fill(page, prompt=None, scale=None, n=None, seed=None):
    "Type into the form; None: leave as it is"
    for label, value in dict(Prompt=prompt, Scale=scale, Pairs=n, Seed=seed).items():
        if value is not None: page.get_by_label(label).fill(str(value))

def press(page): page.get_by_role('button', name='Draw').click()

def wait_drawn(page, head):
    "Until pairs with this in their heading are there, and the bar is gone"
    page.wait_for_function('h => document.querySelector(".midu-head")?.innerText.includes(h)', arg=head)

def drawn(page):
    "[(seed, two pictures, two scores)] as the page shows them"
    out = []
    for pair in page.locator('.midu-pair').all():
        src = [im.get_attribute('src') for im in pair.locator('img').all()]
        pics = [np.array(Image.open(io.BytesIO(base64.b64decode(s.partition(',')[2])))) for s in src]
        seed, *scores = re.search(r'seed (\d+): score (-?[\d.]+) → (-?[\d.]+)', pair.inner_text()).groups()
        out.append((int(seed), pics, scores))
    return out

def check(page, models, prompt, scale, seeds, whose):
    "What a page shows is what `compare` gives"
    found = drawn(page)
    assert [s for s, *_ in found] == list(seeds), (whose, [s for s, *_ in found])
    for seed, pics, scores in found:
        c = compare(*models, prompt, seed, scale, num_inference_steps=steps)
        for a, b in zip(pics, c.images): assert np.array_equal(a, np.array(b)), (whose, seed, 'the pixels differ')
        assert scores == [f'{s:.2f}' for s in c.scores], (whose, seed, scores, c.scores)
    print(f'{whose}: {len(found)} pairs of {prompt!r} at scale {scale}, pixels and scores as compare gives them', flush=True)

def toast(page):
    "The text of an error, and close it"
    box = page.locator('.toast-body').first; box.wait_for()
    text = box.inner_text(); page.locator('.toast-close').first.click(); box.wait_for(state='detached')
    return ' '.join(text.split())

def first_visit(page, models, out):
    "A prompt typed and drawn, toward and away; the bar; a picture of the page"
    assert page.get_by_label('Scale').input_value() == f"{models[1].recommended['scale']:g}"
    fill(page, 'a house in the snow', n=2, seed=3); press(page)
    page.get_by_text(re.compile(r'pair \d of 2')).first.wait_for(); print('a bar says how far it is')
    wait_drawn(page, 'a house in the snow'); check(page, models, 'a house in the snow', models[1].recommended['scale'], [3, 4], 'first visit')
    shown = page.locator('.midu-pair img').evaluate_all('ims => ims.map(i => [i.complete, i.naturalWidth, i.width])')
    assert all(c and n == 64 and w >= 100 for c, n, w in shown), shown
    page.get_by_label('Prompt').press('End'); page.screenshot(path=out/'page.png', clip=dict(x=100, y=0, width=800, height=680))
    fill(page, 'an owl in a forest', scale='-8', n=1, seed=0); page.get_by_label('Prompt').press('Enter')
    wait_drawn(page, 'an owl in a forest'); check(page, models, 'an owl in a forest', -8., [0], 'away, by the Enter key')
    fill(page, 'an owl', scale='', n=1); press(page)
    wait_drawn(page, '“an owl”'); check(page, models, 'an owl', None, [0], 'no scale given')

def typed_code(page):
    "HTML and templates as a prompt are text"
    for text in ('<img src=x onerror="window.hacked=1">', '<script>window.hacked=1</script>', '${window.hacked=1} {{1}} "><b>x</b>'):
        fill(page, text, n=1); press(page); wait_drawn(page, text)
        assert page.evaluate('window.hacked') is None, text
        assert page.locator('.midu-pairs img').count() == 2 and page.locator('.midu-pairs b, .midu-pairs script').count() == 0, text
        assert page.locator('.midu-pair img').first.get_attribute('alt') == f'before: {text}', text
    print('HTML, a script and a template as prompts are shown as text')

def errors(page, models):
    "What cannot be is said in a sentence, and afterwards it goes on"
    fill(page, 'a cat', n=1); press(page); wait_drawn(page, '“a cat”')
    for wrong, right in ((dict(scale='loud'), dict(scale='4')), (dict(scale='<img src=x onerror="window.hacked=1">'), dict(scale='4')), (dict(scale='1e39'), dict(scale='4')),
                         (dict(prompt='   '), dict(prompt='a car')), (dict(n=9), dict(n=1)), (dict(seed=-1), dict(seed=2))):
        fill(page, **wrong); press(page); print('  error:', toast(page)); fill(page, **right)
    assert page.evaluate('window.hacked') is None and page.locator('.toast-body img').count() == 0
    press(page); wait_drawn(page, '“a car”'); check(page, models, 'a car', 4., [2], 'after the errors')

def another_scorer(page):
    "The second scorer, by its name; its scale comes with it"
    fill(page, scale='99'); page.get_by_label('Scorer').click(); page.get_by_role('option', name=folder_name).click()
    page.wait_for_function('() => [...document.querySelectorAll("input,textarea")].some(e => e.value === "3")')
    fill(page, 'a fox', n=1); press(page); wait_drawn(page, f'{folder_name} at scale 3'); print('another scorer brings its own scale')

def two_tabs(tabs, models):
    "Both at once, one toward and one away"
    asks = [('a horse on a beach', 8., 2, 10), ('a castle by a lake', -8., 2, 20)]
    for tab, (prompt, scale, n, seed) in zip(tabs, asks): fill(tab, prompt, f'{scale:g}', n, seed)
    for tab in tabs: press(tab)
    for tab in tabs: tab.get_by_text(re.compile(r'pair \d of 2')).first.wait_for()
    both = [tab.locator('.midu-head').count() == 0 and tab.get_by_text(re.compile(r'pair \d of 2')).count() > 0 for tab in tabs]
    for tab, (prompt, scale, n, seed) in zip(tabs, asks): wait_drawn(tab, prompt)
    for i, (tab, (prompt, scale, n, seed)) in enumerate(zip(tabs, asks)): check(tab, models, prompt, scale, range(seed, seed+n), f'tab {i+1} of two')
    assert all(both), both; print('both tabs were being drawn at the same time')

def full_queue(tabs):
    "Two are drawn, two wait, the fifth is refused in a sentence; the waiting ones get their turn"
    for i, tab in enumerate(tabs): fill(tab, f'a dog {i}', n=8 if i < 2 else 1)
    for tab in tabs[:2]: press(tab); tab.get_by_text(re.compile(r'pair \d of 8')).first.wait_for()
    for tab in tabs[2:4]: press(tab); tab.get_by_text(re.compile('queue')).first.wait_for()
    press(tabs[4]); print('  error:', text := toast(tabs[4])); assert 'busy' in text, text
    for i, tab in enumerate(tabs[:4]): wait_drawn(tab, f'a dog {i}')
    print('two drawn, two waited, the fifth was refused')

def phone(browser, url, asked, out):
    "Nothing sticks out on a phone"
    page = new_page(browser, url, asked, viewport=dict(width=390, height=844), has_touch=True, is_mobile=True, device_scale_factor=2)
    fill(page, 'a boat', n=1); page.get_by_role('button', name='Draw').tap(); wait_drawn(page, 'a boat'); page.screenshot(path=out/'page_phone.png')
    wide = page.evaluate('document.documentElement.scrollWidth'); assert wide <= 390, f'the page is {wide} pixels wide on a phone of 390'
    print('on a phone nothing sticks out')

def stayed_near(url, asked, log):
    "No request of the browser, no connection and no name of the server was for another machine"
    near = url, url.replace('http', 'ws'), 'data:', 'blob:'
    outside = [u for u in asked if not u.startswith(near)]
    assert not outside, outside
    lines = log.read_text().splitlines(); far = [l for l in lines if not l.startswith('near')]
    assert lines and not far, far
    print(f'{len(asked)} requests of the browser and {len(lines)} connections and names of the server: none for another machine')

def bound(process, port):
    "Only this machine's own address listens"
    table = Path(f'/proc/{process.pid}/net/tcp')
    if not table.exists(): return
    lines = [l.split() for f in (table, table.with_name('tcp6')) if f.exists() for l in f.read_text().splitlines()[1:]]
    at = {l[1].split(':')[0] for l in lines if l[3] == '0A' and int(l[1].split(':')[1], 16) == port}
    assert at == {'0100007F'}, at; print('bound to 127.0.0.1 only')

@call_parse
def main(
    out:str='browser', # Folder for screenshots
    only:str='' # visit, typed, errors, scorer, tabs, queue, phone, separated by commas; empty: all
):
    "Run all checks in headless Chromium"
    out, asked = Path(out), []; out.mkdir(parents=True, exist_ok=True)
    models = pipe, scorer = load_pipeline(), load_scorer()
    pipe.set_progress_bar_config(disable=True)
    with sync_playwright() as p, tempfile.TemporaryDirectory() as folder:
        folder, port = Path(folder), free_port(); url, log = f'http://127.0.0.1:{port}/', folder/'net.log'
        shipped, own = folder/'shipped', folder/folder_name
        scorer.save_pretrained(shipped); other = load_scorer(); other.recommended = other.recommended | dict(scale=3.); other.save_pretrained(own)
        code = server_code.format(log=str(log), port=port, steps=steps, scorers=f'{shipped},{own}')
        env = {k: v for k, v in os.environ.items() if k != 'HF_HUB_OFFLINE'}
        server = subprocess.Popen([sys.executable, '-c', code], stdout=open(folder/'server.log', 'w'), stderr=subprocess.STDOUT, env=env)
        browser = p.chromium.launch(executable_path=shutil.which('chromium') or shutil.which('chromium-browser'), args=flags)
        try:
            wait_for(url, server); bound(server, port)
            def tab(): return new_page(browser, url, asked)
            parts = dict(visit=lambda: first_visit(tab(), models, out), typed=lambda: typed_code(tab()), errors=lambda: errors(tab(), models),
                         scorer=lambda: another_scorer(tab()), tabs=lambda: two_tabs([tab(), tab()], models), queue=lambda: full_queue([tab() for _ in range(5)]), phone=lambda: phone(browser, url, asked, out))
            for part in only.split(',') if only else parts: parts[part]()
            problems = [e for c in browser.contexts for q in c.pages for e in q.problems]; assert not problems, problems
            stayed_near(url, asked, log)
            said = (folder/'server.log').read_text(); assert 'Traceback' not in said, said
            assert url in said, said
        except Exception:
            for i, q in enumerate(q for c in browser.contexts for q in c.pages): q.screenshot(path=out/f'failed_page_{i}.png')
            print('server.log', (folder/'server.log').read_text()[-2000:]); raise
        finally: server.terminate(); server.wait()
        browser.close()
    print('all as it should be')
