"""What the users of test_locust do."""

from locust import FastHttpUser, HttpUser, constant, task


class Plain(HttpUser):
    wait_time = constant(0.01)

    @task
    def hello(self):
        self.client.get("/hello", timeout=5)

    @task
    def slow(self):
        self.client.get("/slow?seconds=0.1", timeout=5)


class Fast(FastHttpUser):
    wait_time = constant(0.01)

    @task
    def hello(self):
        self.client.get("/hello")
