# SPDX-License-Identifier: BSD-2-Clause
"""What bench/compare-qemu is made of."""
