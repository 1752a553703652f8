# SPDX-License-Identifier: BSD-2-Clause
"""Memory that is there when it is wanted.

A machine that is itself virtual may give free memory back to its host within seconds; whoever is
given it next pays for that, twenty times the price of a page, and it would be chance who does.
So memory for both ends is held between the runs, and let go of right before it is needed.
"""
import mmap

MADV_POPULATE_WRITE = 23


class Spare:
    # What QEMU's source needs: its guest's memory and the file that it loads; and the destination's.
    FOR_SOURCE, FOR_DESTINATION = 2, 1

    def __init__(self, mib):
        self.bytes = (mib + 64) << 20
        self.pools = []

    def hold(self):
        """Take all of it, touched."""
        while len(self.pools) < self.FOR_SOURCE + self.FOR_DESTINATION:
            pool = mmap.mmap(-1, self.bytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
            pool.madvise(mmap.MADV_HUGEPAGE)
            try:
                pool.madvise(MADV_POPULATE_WRITE)
            except OSError:  # before Linux 5.14
                pool[::mmap.PAGESIZE] = bytes(len(pool) // mmap.PAGESIZE)
            self.pools.append(pool)

    def release(self, count):
        for _ in range(min(count, len(self.pools))):
            self.pools.pop().close()
