"""The ceiling: nginx, which answers the same number of bytes from memory and knows nothing."""

import subprocess

from http_json import Http
from machine import need, free_port, stop, until

CONFIGURATION = """\
daemon off; worker_processes auto; pid {dir}/pid; error_log {dir}/error.log;
events {{ worker_connections 1024; }}
http {{
    access_log off; keepalive_requests 1000000000; default_type application/json;
    client_body_temp_path {dir}/body; proxy_temp_path {dir}/proxy; fastcgi_temp_path {dir}/fastcgi;
    uwsgi_temp_path {dir}/uwsgi; scgi_temp_path {dir}/scgi;
    server {{ listen 127.0.0.1:{port}; location / {{ return 200 '{body}'; }} }}
}}
"""


class Nginx:
    name = "nginx"

    def __init__(self, dir):
        self.binary, self.dir, self.child = need("nginx", "nginx-light"), dir, None
        ran = subprocess.run([self.binary, "-v"], capture_output=True, text=True, check=True)
        self.version = ran.stderr.split("/")[-1].split()[0]

    def start(self, body_bytes=180):
        self.dir.mkdir(parents=True)
        port = free_port()
        body = '{"value":"' + "x" * (body_bytes - 12) + '"}'
        configuration = self.dir / "nginx.conf"
        configuration.write_text(CONFIGURATION.format(dir=self.dir, port=port, body=body))
        self.log = open(self.dir / "server.log", "wb")
        self.child = subprocess.Popen(
            [self.binary, "-c", configuration, "-p", self.dir],
            stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log,
        )
        self.base = f"http://127.0.0.1:{port}"
        self.client = Http(self.base, {})
        until(self.answers, "nginx", self.child)

    def answers(self):
        try:
            return self.client.get("/") is not None
        except OSError:
            return False

    def load(self, kind):
        return {
            "BENCH_METHOD": "GET",
            "BENCH_PATH": "/v1/values/bench/%05d",
            "BENCH_BODY": "",
            "BENCH_HEADER": "Authorization",
            "BENCH_TOKEN": "Bearer " + "x" * 48,
        }

    def stop(self):
        stop(self.child)
