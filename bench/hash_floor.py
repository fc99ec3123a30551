"""The floor of sign-in: the bare password hash on all cores, nothing else. `python -m bench.hash_floor SECONDS`."""

import sys
import threading
import time

from freehold.auth.passwords.passwords import cores, hash_password


def measure(seconds: float) -> float:
    """Hashes a second, by one thread a core."""
    done = [0] * cores()
    until = time.perf_counter() + seconds

    def work(number: int) -> None:
        while time.perf_counter() < until:
            hash_password("correct-horse-1")
            done[number] += 1

    threads = [threading.Thread(target=work, args=(number,)) for number in range(len(done))]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(done) / (time.perf_counter() - began)


if __name__ == "__main__":
    print(measure(float(sys.argv[1])))
