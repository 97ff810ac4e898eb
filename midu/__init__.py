__version__ = "0.0.1"

_home = dict( # name: the module it comes from, loaded when the name is first used
    guide='guidance', Objective='guidance', Scorer='scorer', load_scorer='scorer',
    load_pipeline='world', load_pictures='postcards', appeal='ratings', extract='features',
    sweep='table', find_scale='frontier', search='searching', Study='study', Evaluator='evaluator',
    train_head='scorer', sample_prompts='postcards', load_judge='world', load_factor_judge='world')

__all__ = list(_home)

def __getattr__(name):
    from importlib import import_module
    if name not in _home: raise AttributeError(f"module 'midu' has no attribute {name!r}")
    globals()[name] = found = getattr(import_module(f'.{_home[name]}', __name__), name)
    return found

def __dir__(): return sorted({*globals(), *_home})
