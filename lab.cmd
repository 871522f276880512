@echo off
rem lab TASK ... runs a task of the lab with invoke. When .venv beside this file is missing or outdated, it is made first.
rem
rem PYTHON names the interpreter to make it with; else the py launcher chooses, or python on PATH is taken.
setlocal DisableDelayedExpansion
set "PYTHONHOME="
set "PYTHONPATH="
set "LAB_PYTHON=python"
where /q py && set "LAB_PYTHON=py -3"
if defined PYTHON set LAB_PYTHON="%PYTHON%"

rem The stand-in of the Microsoft Store answers to python too, but runs nothing.
%LAB_PYTHON% -E -c "import sys; sys.exit(sys.version_info < (3, 10))" >nul 2>nul
if errorlevel 1 (
    >&2 echo lab: Python 3.10 or newer is needed; %LAB_PYTHON% is none. Install: winget install Python.Python.3.13
    exit /b 4
)

rem In the checkout; the task itself runs in the caller's folder. Nothing to do is found out in a tenth of a second.
pushd "%~dp0"
%LAB_PYTHON% -E -s -m forklab.bootstrap
set "LAB_CODE=%errorlevel%"
popd
if not "%LAB_CODE%"=="0" exit /b %LAB_CODE%

rem A path that ends in a backslash would take the closing quote with it, so a dot stands at its end.
"%~dp0.venv\Scripts\invoke.exe" --search-root "%~dp0." %*
exit /b %errorlevel%
