"""JSON over one kept connection a thread; for preparing and looking, never for measuring."""

import http.client
import json
import threading
from urllib.parse import urlsplit

from machine import Failed


class Http:
    def __init__(self, base, headers):
        self.host = urlsplit(base).netloc
        self.headers = {**headers, "Content-Type": "application/json"}
        self.kept = threading.local()

    def call(self, method, path, body=None, timeout=120):
        content = self.fetch(method, path, body, timeout)
        return json.loads(content) if content.strip() else None

    def fetch(self, method, path, body=None, timeout=120):
        """The answer's bytes."""
        text = None if body is None else json.dumps(body)
        for attempt in (1, 2):
            connection = getattr(self.kept, "connection", None)
            if connection is None:
                connection = http.client.HTTPConnection(self.host, timeout=timeout)
                self.kept.connection = connection
            try:
                connection.request(method, path, text, self.headers)
                answer = connection.getresponse()
                content = answer.read()
                break
            except (ConnectionError, http.client.HTTPException):
                # One that was kept too long was closed by the server.
                connection.close()
                self.kept.connection = None
                if attempt == 2:
                    raise
        if answer.status >= 300:
            # Problems and errors name no value.
            raise Failed(f"{method} {path}: {answer.status} {content.decode()[:500]}")
        return content

    def get(self, path):
        return self.call("GET", path)

    def post(self, path, body):
        return self.call("POST", path, body)

    def put(self, path, body):
        return self.call("PUT", path, body)
