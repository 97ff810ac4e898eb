"Everything `pyproject.toml` calls dynamic is handed over here from `settings.ini`."
import re
from configparser import ConfigParser
from pathlib import Path
from setuptools import setup, find_namespace_packages

here = Path(__file__).parent
config = ConfigParser(delimiters=["="])
config.read(here/"settings.ini", encoding="utf-8")
cfg = config["DEFAULT"]

def words(key): return [re.sub(r"\s+", " ", w) for w in cfg.get(key, "").split()]

def long_description():
    "The README, its pictures by full address: PyPI has no repository to look into"
    if not (here/"README.md").exists(): return cfg["description"]
    raw = f"https://raw.githubusercontent.com/{cfg['user']}/{cfg['repo']}/{cfg['branch']}/"
    return re.sub(r"(!\[[^\]]*\]\()(?!\w+:)", rf"\g<1>{raw}", (here/"README.md").read_text(encoding="utf-8"))

minimum = int(cfg["min_python"].split(".")[1])
setup(
    name=cfg["lib_name"], version=cfg["version"], description=cfg["description"], keywords=cfg["keywords"],
    author=cfg["author"], author_email=cfg["author_email"], url=cfg["git_url"],
    project_urls={"Documentation": cfg["doc_host"] + cfg["doc_baseurl"]},
    license="Apache-2.0", license_files=["LICENSE", "NOTICE"],
    long_description=long_description(),
    long_description_content_type="text/markdown",
    classifiers=["Development Status :: 3 - Alpha", "Intended Audience :: Developers", "Intended Audience :: Education",
                 *(f"Programming Language :: Python :: 3.{v}" for v in range(minimum, 14))],
    packages=find_namespace_packages(include=["midu", "midu.*"], exclude=["*__pycache__*"]), include_package_data=True,
    python_requires=f">={cfg['min_python']}", install_requires=words("requirements"),
    extras_require={"dev": words("dev_requirements"), "study": words("study_requirements"), "ray": words("ray_requirements"),
                    "page": words("page_requirements")},
    entry_points={"console_scripts": words("console_scripts"), "nbdev": [f"{cfg['lib_name']}={cfg['lib_path']}._modidx:d"]},
    zip_safe=False,
)
