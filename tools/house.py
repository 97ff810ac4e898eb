"""How the house stands: per module, what `CONTRIBUTING.md` asks of the code and of the notebook that it comes from.

`python tools/house.py` prints a table; `--check` fails where a bar is broken, and names the places."""
import ast, json, re, sys
from collections import namedtuple
from pathlib import Path
from fastcore.script import call_parse, store_true

repo = Path(__file__).resolve().parent.parent
nbs = repo/'nbs'

# --- the bars: what is counted, and the most there may be

bars = dict(
    long=3.,      # per cent of code lines over 120 characters
    mean=48.,     # characters a code line, without indentation
    ifs=5.,       # conditional expressions per 100 code lines
    funcs=0,      # functions over 30 lines
    cells=0,      # cells over 30 lines
    run=3,        # exported cells in a row before one that uses what they define
    wide=0,       # lines of shown cells over 80 characters: the site cuts them
    unused=0,     # public names that no cell of their notebook shows at work
    up=0,         # imports from notebooks with higher numbers, and cycles
)
headings = dict(lines='code lines', long='% > 120', mean='mean', ifs='if-else/100', funcs='func > 30',
                cells='cell > 30', run='run', wide='shown > 80', unused='not shown', up='upward')

groups = {('guidance',): 400}   # code lines of modules that share a job

# --- what is above a bar today: the most that is allowed there. Rooms that are rebuilt lose their entry.

allowed = dict(
)

# --- reading

Room = namedtuple('Room', 'module place cells code tree')   # a notebook and the module it exports
Cell = namedtuple('Cell', 'source exported hidden')


def read(file):
    "The code cells of a notebook, and the name of its module (None: it exports nothing)"
    cells, module = [], None
    for c in json.loads(file.read_text(encoding='utf-8'))['cells']:
        if c['cell_type'] != 'code': continue
        source = ''.join(c['source'])
        marks = re.findall(r'^#\|\s*(.+)$', source, re.M)
        module = next((m.split()[1] for m in marks if m.startswith('default_exp')), module)
        exported = any(m.split()[0] in ('export', 'exports') for m in marks)
        hidden = any(m.split()[0] == 'hide' or m.replace(' ', '') == 'eval:false' for m in marks)
        cells.append(Cell(source, exported, hidden))
    return cells, module


def place(file):
    "Where a notebook stands in reading order: numbered ones first, then those in folders"
    number = re.match(r'\d+', file.name)
    return file.parent != nbs, file.parent.name, int(number.group()) if number else -1


def rooms():
    "All notebooks that export a module, in reading order"
    out = []
    for file in sorted([*nbs.glob('*.ipynb'), *nbs.glob('[!_]*/*.ipynb')], key=place):
        cells, module = read(file)
        if module is None: continue
        code = (repo/'midu'/f'{module}.py').read_text(encoding='utf-8')
        out.append(Room(module, place(file), cells, code, ast.parse(code)))
    return out


def parsed(source):
    "A cell's syntax tree, without what only IPython understands"
    plain = re.sub(r'^(\s*)[%!].*$', r'\1pass', source, flags=re.M)
    try: return ast.parse(plain)
    except SyntaxError: return ast.parse('')

# --- counting


def code_lines(text):
    "Lines that somebody wrote: not blank, nor nbdev's head and cell marks"
    _, _, text = text.partition('\n# %% ../')
    return [l.rstrip() for l in text.splitlines()[1:] if l.strip() and not l.startswith('# %%')]


def functions(tree): return [n for n in ast.walk(tree) if isinstance(n, (ast.FunctionDef, ast.AsyncFunctionDef))]


def defined(tree):
    "Names that a cell defines: functions, methods, classes, constants"
    out = {n.name for n in ast.walk(tree) if isinstance(n, (ast.FunctionDef, ast.ClassDef))}
    for n in tree.body:
        targets = n.targets if isinstance(n, ast.Assign) else []
        out |= {t.id for t in targets if isinstance(t, ast.Name)}
    return out - {'__init__', '__repr__', '__len__', '__call__', '__enter__', '__exit__', '__getitem__'}


def names(tree):
    "Names and attributes that a cell mentions"
    return {getattr(n, 'id', getattr(n, 'attr', None)) for n in ast.walk(tree)}


def longest_run(cells):
    "Exported cells in a row before a shown one that mentions something they define; (how many, the first of them)"
    worst, first, count, pending = 0, '', 0, set()
    for c in cells:
        tree = parsed(c.source)
        if c.exported and defined(tree):
            start = c.source.splitlines() if not count else start
            count, pending = count+1, pending | defined(tree)
            if count > worst: worst, first = count, next(l for l in start if l and not l.startswith('#|'))
        elif not c.exported and not c.hidden and names(tree) & pending: count, pending = 0, set()
    return worst, first


def imported(tree, home):
    "Modules of ours that code imports, in functions too"
    out = set()
    for n in ast.walk(tree):
        if isinstance(n, ast.Import): out |= {a.name.split('.')[1] for a in n.names if a.name.startswith('midu.')}
        if not isinstance(n, ast.ImportFrom): continue
        module = (n.module or '').removeprefix('midu').lstrip('.') if n.level or (n.module or '').split('.')[0] == 'midu' else None
        if module: out.add(module.split('.')[0])
        elif module == '': out |= {home.get(a.name, a.name) for a in n.names}
    return out


def home_of():
    "Which module each name from the top comes from"
    tree = ast.parse((repo/'midu'/'__init__.py').read_text(encoding='utf-8'))
    table = next((n.value for n in tree.body if isinstance(n, ast.Assign) and n.targets[0].id == '_home'), None)
    return {k.arg: k.value.value for k in table.keywords} if table else {}


def public(tree):
    "The module's `__all__`"
    return next((ast.literal_eval(n.value) for n in tree.body if isinstance(n, ast.Assign) and getattr(n.targets[0], 'id', '') == '__all__'), [])


def measure(room, places, home):
    "({what: value}, {what: where})"
    lines, fs = code_lines(room.code), functions(room.tree)
    shown = [c for c in room.cells if not c.exported and not c.hidden]
    used = set().union(*(names(parsed(c.source)) for c in shown))
    needs = imported(room.tree, home).union(*(imported(parsed(c.source), home) for c in room.cells if not c.hidden))
    where = dict(
        long=[l.strip()[:60] for l in lines if len(l) > 120],
        funcs=[f'{f.name} ({f.end_lineno-f.lineno+1})' for f in fs if f.end_lineno-f.lineno >= 30],
        cells=[c.source.splitlines()[0][:60] for c in room.cells if len(c.source.splitlines()) > 30],
        wide=[l[:60] for c in shown for l in c.source.splitlines() if len(l) > 80],
        unused=[n for n in public(room.tree) if n not in used],
        up=sorted(m for m in needs-{room.module} if places.get(m, room.place) > room.place))
    ifs = sum(isinstance(n, ast.IfExp) for n in ast.walk(room.tree))
    run, first = longest_run(room.cells)
    where.update(run=[f'from {first[:60]}'])
    values = {k: len(v) for k, v in where.items()} | dict(lines=len(lines), run=run, ifs=100*ifs/max(len(lines), 1))
    return values | dict(long=100*len(where['long'])/max(len(lines), 1), mean=sum(len(l.strip()) for l in lines)/max(len(lines), 1)), where


def cycles(graph):
    "Modules that import each other, directly or by way of others"
    def reach(m, seen):
        for k in graph.get(m, ()):
            if k not in seen: seen.add(k); reach(k, seen)
        return seen
    return sorted(m for m in graph if m in reach(m, set()))

# --- telling


def table(found):
    "A line for each module"
    yield ' '.join(f'{h:>11}' for h in ['module', *headings.values()])
    for module, values in found.items():
        cells = [f'{values[k]:11.1f}' if isinstance(values[k], float) else f'{values[k]:11d}' for k in headings]
        yield ' '.join([f'{module:>13}'[:13], *cells])


def broken(module, values, where):
    "What is above a bar, and above what is allowed for now"
    for k, bar in bars.items():
        limit = max(bar, allowed.get(module, {}).get(k, bar))
        if values[k] > limit:
            yield f"{module}: {headings[k]} is {values[k]:.4g}, at most {limit:g}: {'; '.join(where.get(k, [])[:6])}"


def needless(found):
    "Exceptions that could be smaller, or go"
    for module, limits in allowed.items():
        for k, limit in limits.items():
            if k == 'cycle': continue
            value = found.get(module, {}).get(k, 0)
            if value < limit-0.1: yield f"{module}: {headings[k]} {limit:g} could be {max(value, bars[k]):.4g}"


@call_parse
def main(
    check:store_true=False, # Fail where a bar is broken
    where:str='', # Name of a module: show all places that count
    exceptions:store_true=False # Print what is above the bars now, to be put into `allowed`
):
    "Measure every module and its notebook"
    all_rooms, home = rooms(), home_of()
    places = {r.module: r.place for r in all_rooms}
    measured = {r.module: measure(r, places, home) for r in all_rooms}
    found = {m: values for m, (values, _) in measured.items()}
    if where: return print(json.dumps(measured[where][1], indent=1, ensure_ascii=False))
    if exceptions:
        over = {m: {k: round(v[k]+0.05, 1) if isinstance(v[k], float) else v[k] for k, b in bars.items() if v[k] > b} for m, v in found.items()}
        return print(*[f"    {m}=dict({', '.join(f'{k}={n}' for k, n in v.items())})," for m, v in over.items() if v], sep='\n')
    print(*table(found), sep='\n')
    faults = [line for m, (values, places) in measured.items() for line in broken(m, values, places)]
    faults += [f'import cycle through {m}' for m in cycles({r.module: imported(r.tree, home)-{r.module} for r in all_rooms})
               if 'cycle' not in allowed.get(m, {})]
    sizes = {g: sum(found[m]['lines'] for m in g if m in found) for g in groups}
    faults += [f"{' + '.join(g)}: {n} code lines, at most {groups[g]}" for g, n in sizes.items() if n > groups[g]]
    print(*needless(found), sep='\n')
    if check and faults: sys.exit('\n'.join(['', *faults, f'{len(faults)} bars are broken']))
    print('no bar is broken' if not faults else '\n'.join(faults))
