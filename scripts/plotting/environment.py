"""Python with what the plots need of it, installed once."""
import os
import subprocess
import sys
import venv

HERE = os.path.dirname(os.path.abspath(__file__))
VENV = os.path.join(os.path.dirname(os.path.dirname(HERE)), ".build", "plot-venv")
REQUIREMENTS = os.path.join(HERE, "requirements.txt")


def enter(script):
    """Goes on as the virtual environment's Python, made or brought up to date where it has to be."""
    if os.path.realpath(sys.prefix) == os.path.realpath(VENV):
        return
    python = os.path.join(VENV, "bin", "python")
    with open(REQUIREMENTS) as file:
        wanted = file.read()
    stamp = os.path.join(VENV, "requirements.txt")
    if not os.path.exists(stamp) or open(stamp).read() != wanted:
        print(os.path.basename(script) + ": installing", " ".join(wanted.split()), "into", VENV, file=sys.stderr)
        venv.create(VENV, with_pip=True, clear=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", "-r", REQUIREMENTS], check=True)
        with open(stamp, "w") as file:
            file.write(wanted)
    os.execv(python, [python, os.path.abspath(script), *sys.argv[1:]])
