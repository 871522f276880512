"""Tries to be measured as another one: limits itself, gives its processor away, and runs when nobody else does."""

import os
import resource
import sys

from honest import serve

for name in (resource.RLIMIT_NOFILE, resource.RLIMIT_STACK, resource.RLIMIT_FSIZE):
    resource.setrlimit(name, (min(1 << 20, resource.getrlimit(name)[1]) if name != resource.RLIMIT_NOFILE else 64,) * 2)
os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
serve(int(sys.argv[1]))
