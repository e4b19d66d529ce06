"""What tests of asyncio's loops among green threads share."""

#: A program's `main()`: native threads end what the loop waits for, and wait
#: for the loop. Needs asyncio and time; prints MAIN_PRINTS.
MAIN = """
async def main():
    loop = asyncio.get_running_loop()
    print(await asyncio.to_thread(time.sleep, 0.01))
    print(await loop.run_in_executor(None, max, 1, 2))

    async def here():
        assert asyncio.get_running_loop() is loop
        return 3

    def elsewhere():
        return asyncio.run_coroutine_threadsafe(here(), loop).result(30)

    print(await asyncio.wait_for(asyncio.to_thread(elsewhere), 30))
"""

MAIN_PRINTS = "None\n2\n3\n"
