"""`python -m torchyard_trainer`: the supervisor of a worker."""

import signal
import sys

# A SIGTERM that comes during the imports waits until there is a handler. The kernel would
# otherwise drop it for PID 1, and the pod would stay until its grace period is over.
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])

from torchyard_trainer.supervisor import main  # noqa: E402

sys.exit(main())
