"""The key arena in a process of its own: who may prepare it, what it is made of, and what is left of what was in it."""

from __future__ import annotations

import resource
import subprocess
import sys
import textwrap

from tests.style.tree import ROOT


def run(code: str, **kind: object) -> str:
    """What a fresh interpreter prints; it must end well."""
    program = "from vecd._card import ffi, lib\n" + textwrap.dedent(code)
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False, **kind
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_it_refuses_once_libcrypto_is_in_use() -> None:
    said = run("""
        import hashlib
        hashlib.sha256(b"x")
        from vecd.base import errors
        from vecd.cards import soft
        try:
            soft.prepare()
        except errors.Failed as error:
            print(error)
    """)
    assert "libcrypto has allocated memory already" in said and "prepare() before anything imports hashlib" in said


def test_the_driver_itself_imports_nothing_that_uses_libcrypto() -> None:
    assert (
        run("""
        import sys
        from vecd.cards import soft
        print(sorted({"hashlib", "_hashlib", "hmac", "secrets", "ssl"} & set(sys.modules)))
    """)
        == "[]"
    )


def test_memory_that_cannot_be_locked_is_an_error_that_says_so() -> None:
    def no_lock() -> None:
        resource.setrlimit(resource.RLIMIT_MEMLOCK, (65536, 65536))

    said = run(
        """
        import os
        from vecd.base import errors
        from vecd.cards import soft
        # Whoever is root may lock whatever the limit says.
        if os.geteuid() == 0:
            os.setresuid(65534, 65534, 65534)
        try:
            soft.prepare()
        except errors.Failed as error:
            print(error)
        """,
        preexec_fn=no_lock,
    )
    assert "cannot be locked" in said and "LimitMEMLOCK" in said


def test_the_default_fits_an_unprivileged_process() -> None:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_MEMLOCK, (8 << 20, 8 << 20))

    assert run(
        """
        import os
        from vecd.cards.soft import SoftCard
        if os.geteuid() == 0:
            os.setresuid(65534, 65534, 65534)
        with SoftCard() as card:
            print(card.counters().arena_size)
        """,
        preexec_fn=limit,
    ) == str(2 << 20)


def test_its_pages_are_locked_not_dumped_not_inherited_and_fenced() -> None:
    said = run("""
        lib.vec_arena_prepare(1 << 20)
        report = ffi.new("struct vec_arena_report *")
        lib.vec_arena_report(report)
        block, flags, before, after = [], "", None, None
        maps = open("/proc/self/smaps").read().splitlines()
        spans = [line for line in maps if line.split()[0].count("-") == 1 and line[0] in "0123456789abcdef"]
        at = next(n for n, line in enumerate(spans) if line.startswith(f"{report.base:x}-"))
        print(spans[at - 1].split()[1], spans[at + 1].split()[1], spans[at].split()[-1])
        inside = False
        for line in maps:
            inside = line in spans and line == spans[at] or inside and line not in spans
            if inside and line.startswith("VmFlags"):
                print(*line.split()[1:])
    """)
    fences, flags = said.splitlines()
    assert fences.split()[:2] == ["---p", "---p"]
    # lo: locked; dd: not in dumps; dc: not copied to a child.
    assert {"lo", "dd", "dc"} <= set(flags.split())


def test_what_is_freed_is_zero_and_merged_for_other_sizes() -> None:
    assert (
        run("""
        import random
        lib.vec_arena_prepare(1 << 20)
        report = ffi.new("struct vec_arena_report *")
        chance, live = random.Random(5), {}
        for step in range(20000):
            if live and (chance.random() < 0.5 or len(live) > 400):
                address = chance.choice(list(live))
                size, fill = live.pop(address)
                memory = ffi.cast("uint8_t *", address)
                assert bytes(ffi.buffer(memory, size)) == bytes([fill]) * size
                lib.vec_arena_free(memory)
                continue
            size = chance.choice((1, 16, 33, 200, 700, 1500, 5000, 16000))
            memory = lib.vec_arena_alloc(size)
            if memory == ffi.NULL:
                continue
            assert int(ffi.cast("uintptr_t", memory)) % 16 == 0 and lib.vec_arena_holds(memory)
            assert lib.vec_is_zero(memory, size)
            ffi.memmove(memory, bytes([step % 255 + 1]) * size, size)
            live[int(ffi.cast("uintptr_t", memory))] = size, step % 255 + 1
        for address in live:
            lib.vec_arena_free(ffi.cast("void *", address))
        lib.vec_arena_report(report)
        assert report.used == 0 and not report.broken and lib.vec_arena_check() == 0
        # Full of the smallest, then of the largest: nothing stays cut into pieces.
        for size in (16, 32768, 16, 1024):
            got = []
            while (memory := lib.vec_arena_alloc(size)) != ffi.NULL:
                got.append(memory)
            assert len(got) * (max(size, 32) + 16) > 0.95 * (1 << 20), (size, len(got))
            for memory in got:
                lib.vec_arena_free(memory)
        print("ok")
    """)
        == "ok"
    )


def test_a_block_that_is_not_one_ends_the_process() -> None:
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "from vecd._card import ffi, lib\n"
            "lib.vec_arena_prepare(1 << 20); m = lib.vec_arena_alloc(64); lib.vec_arena_free(m); lib.vec_arena_free(m)",
        ],
        cwd=ROOT,
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == -6


def test_wipe_overwrites_immutable_bytes_in_place() -> None:
    assert (
        run("""
        import os
        from vecd.cards.soft import SoftCard
        with SoftCard() as card:
            for secret in (os.urandom(32), bytearray(os.urandom(32))):
                card.wipe(secret)
                assert secret == bytes(32)
            staged = bytearray(os.urandom(32))
            card.stage(staged)
            assert staged == bytes(32)
        print("ok")
    """)
        == "ok"
    )
