from gevent import monkey

monkey.patch_all()

import asyncio  # noqa: E402
import ssl  # noqa: E402
import time  # noqa: E402
import unittest  # noqa: E402

import aiohttp  # noqa: E402
import anyio  # noqa: E402
import gevent  # noqa: E402
import httpx  # noqa: E402
from asgiref.sync import async_to_sync, sync_to_async  # noqa: E402
from django.utils.asyncio import async_unsafe  # noqa: E402
from helper import others_go_on, server, together  # noqa: E402

HTTP = server("HTTP")
HTTPS = server("HTTPS")
CA = server("CA")
SLOW = f"{HTTP}/slow?seconds=0.2"


class TestLoopsInGreenlets(unittest.TestCase):
    """Libraries for asyncio, in a loop of each greenlet's own."""

    def all_at_once(self, main, count=20):
        with others_go_on(10):
            return together(lambda i: asyncio.run(main(i)), range(count), 10)

    def test_httpx(self):
        async def main(number):
            async with httpx.AsyncClient(timeout=10) as client:
                answers = await asyncio.gather(
                    *(client.get(SLOW) for _ in range(3)))
            return [answer.text for answer in answers]

        self.assertEqual(self.all_at_once(main), [["slow"] * 3] * 20)

    def test_httpx_with_tls(self):
        async def main(number):
            context = ssl.create_default_context(cafile=CA)
            async with httpx.AsyncClient(verify=context) as client:
                return (await client.get(f"{HTTPS}/slow?seconds=0.2")).text

        self.assertEqual(self.all_at_once(main, 5), ["slow"] * 5)

    def test_aiohttp(self):
        async def main(number):
            texts = []
            async with aiohttp.ClientSession() as session:
                for _ in range(3):
                    async with session.get(SLOW) as answer:
                        texts.append(await answer.text())
            return texts

        self.assertEqual(self.all_at_once(main), [["slow"] * 3] * 20)

    def test_anyio(self):
        async def main(number):
            found = []

            async def job(client):
                found.append((await client.get(SLOW)).text)
                await anyio.to_thread.run_sync(time.sleep, 0.01)

            async with httpx.AsyncClient(timeout=10) as client:
                with anyio.fail_after(10):
                    async with anyio.create_task_group() as group:
                        for _ in range(3):
                            group.start_soon(job, client)
            return found

        self.assertEqual(self.all_at_once(main), [["slow"] * 3] * 20)

    def test_asgiref(self):
        def sync(number):
            time.sleep(0.1)
            return number

        async def view(number):
            await asyncio.sleep(0.1)
            return await sync_to_async(sync)(number)

        self.assertEqual(
            together(async_to_sync(view), range(20), 10), list(range(20)))

    def test_others_were_not_called_by_a_coroutine(self):
        query = async_unsafe(lambda: "row")

        async def main():
            await asyncio.sleep(0.1)
            gevent.sleep(0.1)

        loop = gevent.spawn(asyncio.run, main())
        for _ in range(15):
            self.assertEqual(query(), "row")
            gevent.sleep(0.01)
        loop.get(timeout=10)


if __name__ == "__main__":
    unittest.main()
