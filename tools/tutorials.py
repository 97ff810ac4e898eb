"""Run nbs/tutorials from the wheel, where the repository is not: on a pipeline folder of SD 2.1's classes and on the embedded model.

python tools/tutorials.py [--deps VENV] [--venv PATH]     ends with "N passed, N failed"
"""
import argparse, json, os, shutil, sqlite3, subprocess, sys, tarfile, tempfile, time, zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

repo = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(repo))   # for the stand-ins that are written here; the notebooks run elsewhere
tutorials = '00_guide_sd', '01_train_on_sac', '02_study'
results = []


def check(name, f, *args):
    "Run one check, print how it went"
    start = time.perf_counter()
    try: note, ok = f(*args) or '', True
    except Exception as e: note, ok = f'{type(e).__name__}: {e}'[-3000:], False
    results.append(ok)
    print(f"{'ok  ' if ok else 'FAIL'} {time.perf_counter()-start:5.1f} s  {name}  {note}", flush=True)
    return ok


def run(*cmd, cwd, env=None, **kwargs):
    r = subprocess.run([str(c) for c in cmd], cwd=cwd, env=env, capture_output=True, text=True, **kwargs)
    if r.returncode: raise RuntimeError(f"{' '.join(map(str, cmd))[:300]} ended with {r.returncode}:\n{(r.stdout+r.stderr)[-2500:]}")
    return r.stdout


# --- what stands in for the downloads

def tiny_tokenizer(folder):
    "A CLIPTokenizer of single bytes, 77 places, padded with '!' as SD 2.1's"
    from tokenizers.pre_tokenizers import ByteLevel
    from transformers import CLIPTokenizer
    letters = sorted(ByteLevel.alphabet())
    words = ['!', *[c for c in letters if c != '!'], *[c+'</w>' for c in letters], '<|startoftext|>', '<|endoftext|>']
    tok = CLIPTokenizer(vocab={w: i for i, w in enumerate(words)}, merges=[], pad_token='!', model_max_length=77)
    ids = tok('a horse', padding='max_length', return_tensors='pt').input_ids[0].tolist()
    assert len(ids) == 77 and ids[0] == len(words)-2 and ids.count(len(words)-1) == 1 and ids[-1] == 0, ids
    return tok


def write_pipeline(folder):
    "SD 2.1 base in small: the same classes, four levels, factor 8, OpenCLIP-like text config, PNDM; random weights"
    import torch
    from diffusers import AutoencoderKL, PNDMScheduler, StableDiffusionPipeline, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel
    torch.manual_seed(0)
    tok = tiny_tokenizer(folder)
    text = CLIPTextConfig(vocab_size=len(tok), hidden_size=64, intermediate_size=128, num_hidden_layers=3, num_attention_heads=4, max_position_embeddings=77, hidden_act='gelu',
                          projection_dim=32, bos_token_id=tok.bos_token_id, eos_token_id=tok.eos_token_id, pad_token_id=tok.pad_token_id)
    vae = AutoencoderKL(down_block_types=['DownEncoderBlock2D']*4, up_block_types=['UpDecoderBlock2D']*4, block_out_channels=(32, 32, 64, 64), layers_per_block=1,
                        latent_channels=4, norm_num_groups=32, sample_size=128)
    unet = UNet2DConditionModel(sample_size=16, block_out_channels=(32, 64, 128, 128), layers_per_block=2, cross_attention_dim=64, attention_head_dim=[1, 2, 4, 4], use_linear_projection=True)
    scheduler = PNDMScheduler(beta_schedule='scaled_linear', beta_start=0.00085, beta_end=0.012, skip_prk_steps=True, set_alpha_to_one=False, steps_offset=1)
    pipe = StableDiffusionPipeline(vae=vae.eval(), text_encoder=CLIPTextModel(text).eval(), tokenizer=tok, unet=unet.eval(), scheduler=scheduler,
                                   safety_checker=None, feature_extractor=None, requires_safety_checker=False)
    pipe.save_pretrained(folder)
    index = json.loads((folder/'model_index.json').read_text())
    want = dict(_class_name='StableDiffusionPipeline', scheduler='PNDMScheduler', text_encoder='CLIPTextModel', tokenizer='CLIPTokenizer', unet='UNet2DConditionModel', vae='AutoencoderKL')
    got = {k: index[k] if k[0] == '_' else index[k][1] for k in want}
    assert got == want, got


def write_sac(folder, n=280):
    "Simulacra Aesthetic Captions in small, as it is downloaded: its database's schema, pictures of two sizes, ratings that are few and missing, simulated"
    import numpy as np
    from midu.world import load_pictures
    from midu.ratings import Crowd, appeal
    folder.mkdir(parents=True)
    ds, con = load_pictures('train').shuffle(seed=1).select(range(n)), sqlite3.connect(folder/'sac_public_2022_06_29.sqlite')
    con.executescript("""CREATE TABLE survey (id INTEGER, qid INTEGER, rating INTEGER); CREATE TABLE generations (id INTEGER PRIMARY KEY, sid INTEGER, method INTEGER, prompt TEXT, verified INTEGER);
        CREATE TABLE images (id INTEGER PRIMARY KEY, gid INTEGER, idx INTEGER); CREATE TABLE paths (iid INTEGER, path TEXT);
        CREATE TABLE ratings (sid INTEGER, iid INTEGER, rating INTEGER, verified INTEGER); CREATE TABLE upscales (iid INTEGER, method INTEGER);""")
    rng = np.random.default_rng(0)
    for s in range(30): con.executemany('INSERT INTO survey VALUES (?,?,?)', [(s, q, int(r)) for q, r in enumerate(rng.integers(1, 11, 33 if s == 29 else 20))])
    with tarfile.open(folder/'sac.tar', 'w') as tar:
        for i, row in enumerate(ds):
            name, side = f"{i//2}_{row['caption'].replace(' ', '_')}_{i%2}.png", 256 if i%3 else 512
            row['image'].resize((side, side)).save(folder/'one.png')
            if i%40 != 39: tar.add(folder/'one.png', f'home/jdp/simulacra-aesthetic-captions/{name}')     # some are missing
            if i%2 == 0: con.execute('INSERT INTO generations VALUES (?,1,3,?,1)', (i//2, row['caption']))
            con.execute('INSERT INTO images VALUES (?,?,?)', (i, i//2, i%2)); con.execute('INSERT INTO paths VALUES (?,?)', (i, name))
    t = Crowd(n=30).rate(appeal(ds['image'][:]), extra=0.5)
    for p, s, r in zip(t['picture'][:], t['rater'][:], t['rating'][:]):
        if p%10 != 9: con.execute('INSERT INTO ratings VALUES (?,?,?,1)', (s, p, None if p%25 == 7 else r))        # some nobody rated, some have no number
    con.commit(); con.close(); (folder/'one.png').unlink()


# --- the wheel, and a place where the repository is not

def build(work):
    "The wheel, built from the files that git knows or would take"
    src, out = work/'source', work/'dist'
    for f in run('git', 'ls-files', '-co', '--exclude-standard', cwd=repo).splitlines():
        if not (repo/f).is_file() or f.startswith('nbs/'): continue
        (src/f).parent.mkdir(parents=True, exist_ok=True); shutil.copy(repo/f, src/f)
    try: import setuptools; isolation = ['--no-build-isolation'] if int(setuptools.__version__.split('.')[0]) >= 64 else []
    except ImportError: isolation = []
    run(sys.executable, '-m', 'pip', 'wheel', '-q', '--no-deps', *isolation, '-w', out, src, cwd=work)
    wheel, = out.glob('midu-*.whl')
    return wheel


def inspect(wheel):
    names, size = zipfile.ZipFile(wheel).namelist(), wheel.stat().st_size/1e6
    assert size <= 45, f'{size:.1f} MB'
    for end in ('midu/data/postcards.parquet', 'midu/data/sprites.parquet', 'midu/models/pipeline/model_index.json', 'midu/models/pipeline/unet/diffusion_pytorch_model.safetensors', 'midu/models/scorer/model.safetensors',
                'midu/models/scorer/README.md', 'midu/models/judge/model.safetensors', '/LICENSE', '/NOTICE', '/entry_points.txt'):
        assert any(n.endswith(end) for n in names), f'no {end}'
    wrong = [n for n in names if not n.startswith('midu') or '__pycache__' in n or '.ipynb' in n]
    assert not wrong, wrong[:5]
    return f'{size:.1f} MB, {len(names)} files'


def install(wheel, venv, deps):
    "The wheel in `venv`; all else is borrowed from the venv `deps`, or installed as a user would"
    if not (venv/'bin'/'python').exists(): run(sys.executable, '-m', 'venv', *(['--without-pip'] if deps else []), venv, cwd=venv.parent)
    pip = [sys.executable, '-m', 'pip', '--python', venv/'bin'/'python', 'install', '-q']
    if deps:
        site, own = next((deps/'lib').glob('python3*/site-packages')), next((venv/'lib').glob('python3*/site-packages'))
        assert site.parent.name == own.parent.name, f'{deps} is for {site.parent.name}, the new venv for {own.parent.name}'
        assert not (site/'midu').exists(), f'{site} holds a midu of its own'
        (own/'borrowed.pth').write_text(f'{site}\n')    # comes after the venv's own; an editable install there is not followed
        run(*pip, '--no-deps', '--force-reinstall', wheel, cwd=venv.parent)
    else: run(*pip, 'torch==2.13.0', f'midu[study] @ {wheel.as_uri()}', 'nbclient', 'ipykernel', 'accelerate', cwd=venv.parent)


def environment(work):
    env = {k: v for k, v in os.environ.items() if k not in ('PYTHONPATH', 'PYTHONHOME', 'VIRTUAL_ENV', 'MPLBACKEND')}
    return dict(env, IN_TEST='1', HF_HUB_OFFLINE='1', HF_HOME=str(work/'hf'), PYTHONNOUSERSITE='1', PYTHONWARNINGS='ignore', IPYTHONDIR=str(work/'ipython'), OMP_NUM_THREADS='1')


def away(python, place, env):
    "Is the midu that is imported the wheel's, and the repository nowhere on the path?"
    where, *path = json.loads(run(python, '-c', 'import json, sys, midu.commands; print(json.dumps([midu.__file__, *sys.path]))', cwd=place, env=env))
    assert Path(where).is_relative_to(Path(python).parent.parent), where
    bad = [p for p in path if p and (Path(p).resolve() == repo or repo in Path(p).resolve().parents and not Path(p).resolve().is_relative_to(repo/'.venv'))]
    assert not bad, bad
    return where


def demo(python, place, env):
    place.mkdir()
    out = run(Path(python).parent/'midu_demo', '--pictures', '256', '--draws', '2', '--steps', '10', '--scales=-20,0,20', cwd=place, env=env)
    assert sorted(p.name for p in place.iterdir()) == ['midu_demo.html', 'midu_demo.png'], list(place.iterdir())
    return out.strip().splitlines()[-1]


# --- the notebooks

_execute = """
import sys, nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
nb = nbformat.read(sys.argv[1], 4)
try: NotebookClient(nb, timeout=600, kernel_name='python3').execute()
except CellExecutionError as e:
    from nbconvert.filters import strip_ansi
    print(strip_ansi('\\n'.join(l for l in str(e).splitlines() if '-->' in l or '---' in l or l[:1].isalpha() or 'Error' in l))[:2400]); sys.exit(1)
nbformat.write(nb, sys.argv[1])
"""


def put(name, place, values):
    "A copy of the notebook in `place`; with `values`, its one line changed"
    nb = json.loads((repo/'nbs'/'tutorials'/f'{name}.ipynb').read_text())
    lines = lambda: [l for c in nb['cells'] for l in ''.join(c['source']).split('\n')]
    before, hits = lines(), [(c, l) for c in nb['cells'] if c['cell_type'] == 'code' for l in ''.join(c['source']).split('\n') if l.startswith('model, ')]
    assert len(hits) == 1, f"{name}: {len(hits)} lines begin with 'model, '"
    if values:
        c, old = hits[0]; names = old.split(' = ')[0]
        c['source'] = ''.join(c['source']).replace(old, f"{names} = {', '.join(repr(v) for v in values)}").splitlines(True)
    changed = sum(a != b for a, b in zip(before, lines()))
    assert len(before) == len(lines()) and changed == bool(values), f'{changed} lines changed'
    for c in nb['cells']:
        if c['cell_type'] == 'code': c.update(outputs=[], execution_count=None)
    file = place/f'{name}.ipynb'; file.write_text(json.dumps(nb))
    return file


def execute(name, place, values, python, env):
    place.mkdir(parents=True, exist_ok=True)
    file = put(name, place, values)
    (place/'execute.py').write_text(_execute); run(python, 'execute.py', file.name, cwd=place, env=env)
    nb = json.loads(file.read_text())
    text = json.dumps([c.get('outputs') for c in nb['cells'] if c['cell_type'] == 'code'])
    assert str(repo)+'/' not in text.replace(str(repo/'.venv'), ''), 'the repository is named in an output'
    empty = [''.join(c['source'])[:60] for c in nb['cells'] if c['cell_type'] == 'code' and c['execution_count'] is None and ''.join(c['source']).strip()]
    assert not empty, empty
    return '; '.join(l for c in nb['cells'] for o in c.get('outputs', []) for l in ''.join(o.get('text', '')).splitlines() if l.startswith(('scale', '0 shards', 'simulated judges')))[:160]


def chain(kind, work, python, env, sac, pipeline=None):
    "The three notebooks one after the other; with a pipeline, each is given what the one before has made"
    place = work/kind
    scorer = place/'midu-sac'/'pipeline'/'scorer'
    values = [(str(pipeline), None), (str(pipeline), str(sac)), (str(pipeline), str(scorer))] if pipeline else [None, (None, str(sac)), None]
    for name, v in zip(tutorials, values): check(f'{name} on {kind}', execute, name, place, v, python, env)
    if pipeline: check(f'{tutorials[0]} on {kind}, with the scorer that {tutorials[1]} has made', execute, tutorials[0], place, (str(pipeline), str(scorer)), python, env)
    else: return
    check(f'{tutorials[1]} on {kind}, again after an interruption', interrupted, place, values[1], python, env)


def interrupted(place, values, python, env):
    "A shard and the scorer are lost: made again as they were, and nothing else"
    keep = place/'midu-sac'/'pipeline'; shards, model = sorted((keep/'features').glob('shard*')), keep/'scorer'/'model.safetensors'
    data = {f: (f.read_bytes(), f.stat().st_mtime_ns) for f in [*shards, model]}
    shards[-1].unlink(); model.unlink()
    execute(tutorials[1], place, values, python, env)
    assert all(f.read_bytes() == d for f, (d, _) in data.items()), 'not the same'
    kept = [f for f in shards[:-1] if f.stat().st_mtime_ns == data[f][1]]
    assert len(kept) == len(shards)-1, f'{len(shards)-1-len(kept)} shards were made again in vain'


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument('--deps', type=Path, help="a venv whose packages (not midu) are borrowed, so that nothing is downloaded")
    p.add_argument('--keep', action='store_true', help="leave the executed notebooks where they are, and say where")
    p.add_argument('--venv', type=Path, help="the venv for the wheel; reused if it exists; default: a new one")
    a = p.parse_args()
    start, work = time.perf_counter(), Path(tempfile.mkdtemp(prefix='midu-tutorials-'))
    try:
        if not check('wheel', lambda: inspect(build(work))): return
        wheel, = (work/'dist').glob('*.whl')
        venv = (a.venv or work/'venv').resolve(); python = venv/'bin'/'python'
        env, place = environment(work), work/'empty'; place.mkdir()
        if not check('installed', install, wheel, venv, a.deps and a.deps.resolve()): return
        if not check('the repository is away', away, python, place, env): return
        if not (check('stand-in for SD 2.1', write_pipeline, work/'pipeline') and check('stand-in for Simulacra Aesthetic Captions', write_sac, work/'sac')): return
        with ThreadPoolExecutor(2) as pool:    # two chains of notebooks, a core each
            jobs = [pool.submit(chain, 'SD 2.1', work, python, env, work/'sac', work/'pipeline'), pool.submit(chain, 'embedded', work, python, env, work/'sac')]
            jobs.append(pool.submit(check, 'midu_demo', demo, python, work/'demo', env))
            for j in jobs: j.result()
    finally:
        if a.keep: print(work)
        else: shutil.rmtree(work, ignore_errors=True)
        print(f'{time.perf_counter()-start:.0f} s\n{sum(results)} passed, {len(results)-sum(results)} failed')
        if not results or not all(results): sys.exit(1)


if __name__ == '__main__': main()
