"""The scenarios: one experiment a file. The file's name is the id, ``_`` for ``-``; its docstring sums it up.

A file has one object, ``SCENARIO = Scenario(question, expectation, source, explanation, prediction, run, parameters)``.
All texts that a learner reads are ``Text(en=…, ko=…)``.

``run(stage)`` does the experiment and returns the words of PASS. On its way it says

- ``stage.evidence(line)``: the few lines that decide it, as the kernel shows them: a row of /proc, a call with times;
- ``stage.measure(name=value)``: figures for ``--json`` and for the prediction, under names that carry their unit;
- ``stage.expect(true, claim)``: ends it with FAIL and the claim unless it is true;
- ``stage.inconclusive(reason)``: ends it: what had to be provoked did not happen, or this kernel cannot show it;
- ``stage.says(line)``: what the program under observation printed; shown, never judged;
- ``stage.draw(title, drawing, note)``: a picture for the page: an altair chart, SVG as text, or a function that makes
  one of them, called only when a page is wanted (altair takes a second to import: import it in there);
- ``stage.timeline(title, timeline, note)``: a time-line of processes.

What it measures comes from wait status, ``stage.program`` (a program's calls, recorded by strace, as a time-line),
``lab.snapshot()`` (/proc and sock_diag, read by the probe), ``lab.trace`` or a capture. Never from what a program
prints about itself.

Texts are plain: an empty line parts paragraphs, what stands between backticks is code. A parameter's name is the flag:
``clients`` is ``--clients 20``. Where the right answer of a ``Choice`` stands varies, except where answers have an
order of their own.

A scenario imports ``forklab.harness`` and what looks (``forklab.observe``, ``forklab.timeline``); never another
scenario. It needs no other one to have run, and leaves nothing behind: what the stage started ends with it.
"""
