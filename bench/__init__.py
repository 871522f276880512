"""Measures our server beside its peers: who serves how many clients how fast, with how much memory.

**What is measured.** ``_sections.py`` has one function a section: connections a second with 1, 8 and 64 clients at a
time (connect, 32 bytes, echo, close), bytes a second, memory of a thousand held connections, the most that can be held,
a thousand clients at one instant, the workload of UNP's chapter 30 (5,000 connections, 4,000 bytes, 10 at a time), page
faults a connection, the split client against lock-step on a slow network, and what fsync(2) costs the service
``store``.

**Against whom.** ``_entrants.py``: all models of ours, three servers in C (``peers/*.c``, each as a good C programmer
writes it, and explained at its head), CPython's own and uvloop (``peers/*.py``), socat, tcpserver with cat, and ncat.
Each is set as its users would set it who expect many clients.

**How.** One container without a network, traffic on its loopback device. Each sample starts its entrant anew on a port
of its own, waits until /proc/net/tcp shows the listener (a connection to try would already be a client), lets a few
clients come that do not count, measures, waits until the last child has ended, and ends it. The load generator
(``load.c``) and the slow network (``relay.c``) are programs in C, for they share the processors with what they measure.

**Why the figures can be believed.**

* Every byte is compared, and a connection that fails or waits for 10 s is an error of its kind. Errors stand in each
  sample, also zombies and processes that an entrant left behind.
* In each round every entrant has its turn, and each round begins with another one (``_plan.py``). What disturbs the
  machine disturbs entrants that are compared alike; ratios are taken within a round. The first round is a warm-up.
* The load generator tells what share of a processor it took itself. A sample in which it took 0.9 or more says that it
  is the limit. What it reaches against ``c-epoll`` shows how much room there is above all others.
* Memory is PSS, in which a shared page counts once, whoever shares it. Page faults are the whole system's, for a fork
  costs the parent as much as the child; those of the load generator are in them, and of anybody else on the machine.
* Nothing is taken on trust from the programs under test: they say nothing that is read.
"""
