"""Tries to be gone before it is looked at: ends three seconds after it has begun."""

import sys
import threading

from honest import serve

threading.Thread(target=serve, args=(int(sys.argv[1]),), daemon=True).start()
threading.Event().wait(3)
sys.exit(3)
