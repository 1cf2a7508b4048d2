"""An S3 server in memory, one request after another: moto checks the conditions of a put and stores it in two steps, so
that with threads two writers of one name may both be told that they were first."""

import sys

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import run_simple

run_simple("127.0.0.1", int(sys.argv[1]), DomainDispatcherApplication(create_backend_app), threaded=False)
