/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The guest that bench/compare-qemu migrates while it runs: no operating system, one loop that
 * writes a word in each page of a range, around and around, at a fixed rate. QEMU loads it with
 * -kernel (Multiboot 1); -append "FIRST_MIB MIB PAGES_PER_MS" says which range and how fast.
 *
 * It sleeps (HLT) between ticks of the timer, as a guest with an operating system would, and the
 * time-stamp counter says how many pages are due: ticks that come late are made up for. The number
 * of pages written is at COUNT_AT for who reads the guest's memory from outside.
 */
#include <stdint.h>

enum {
    MIB = 1 << 20,
    PAGE = 4096,
    COUNT_AT = 0x8000,
    IDT_AT = 0x9000,
    TIMER_VECTOR = 0x20,
    TICKS_HZ = 1000,
    TIMER_HZ = 1193182, /* what the i8254 counts at */
    CODE = 0x08,        /* in our descriptor table */
    /* A longer wait is no late tick: the guest was stopped, and does not make up for it. */
    LATEST_MS = 200,
};

struct multiboot {
    uint32_t flags, mem_lower, mem_upper, boot_device, cmdline;
};

struct gate {
    uint16_t low, selector, type, high;
};

struct table {
    uint16_t limit;
    uint32_t base;
} __attribute__((packed));

static const uint64_t segments[] = {0, 0x00cf9a000000ffff, 0x00cf92000000ffff};

/* Multiboot's own header: magic, no flags, checksum. */
__attribute__((section(".multiboot"), used)) static const uint32_t header[] = {0x1badb002, 0,
                                                                               -0x1badb002u};
__attribute__((aligned(16), used)) static char stack[PAGE];

/* The entry, and the timer's handler: tell the interrupt controller, no more. */
__asm__(".global start\n"
        "start:\n"
        "  mov $stack + 4096, %esp\n"
        "  push %ebx\n"
        "  call guest\n"
        "timer:\n"
        "  push %eax\n"
        "  mov $0x20, %al\n"
        "  out %al, $0x20\n"
        "  pop %eax\n"
        "  iret\n");
extern const char timer[];

static void out(uint16_t port, uint8_t value)
{
    __asm__ volatile("outb %0, %1" : : "a"(value), "Nd"(port));
}

static uint64_t stamp(void)
{
    uint32_t low, high;
    __asm__ volatile("rdtsc" : "=a"(low), "=d"(high));
    return (uint64_t)high << 32 | low;
}

static void load_tables(void)
{
    struct gate *idt = (struct gate *)IDT_AT;
    uint32_t handler = (uint32_t)timer;
    idt[TIMER_VECTOR] = (struct gate){(uint16_t)handler, CODE, 0x8e00, (uint16_t)(handler >> 16)};
    struct table gdt = {sizeof segments - 1, (uint32_t)segments};
    struct table idtr = {(TIMER_VECTOR + 1) * sizeof(struct gate) - 1, IDT_AT};
    __asm__ volatile("lgdt %0\n"
                     "lidt %1\n"
                     "ljmp $0x08, $1f\n"
                     "1: mov %2, %%ds\n"
                     "mov %2, %%es\n"
                     "mov %2, %%ss\n"
                     :
                     : "m"(gdt), "m"(idtr), "r"(0x10));
}

/* The i8259s: vectors from TIMER_VECTOR on, and only the timer's let through. The i8254: TICKS_HZ.
 */
static void start_timer(void)
{
    static const struct {
        uint8_t port, value;
    } words[] = {{0x20, 0x11},
                 {0xa0, 0x11},
                 {0x21, TIMER_VECTOR},
                 {0xa1, TIMER_VECTOR + 8},
                 {0x21, 4},
                 {0xa1, 2},
                 {0x21, 1},
                 {0xa1, 1},
                 {0x21, 0xfe},
                 {0xa1, 0xff},
                 {0x43, 0x34}};
    for (unsigned i = 0; i < sizeof words / sizeof words[0]; i++)
        out(words[i].port, words[i].value);
    out(0x40, TIMER_HZ / TICKS_HZ & 0xff);
    out(0x40, TIMER_HZ / TICKS_HZ >> 8);
}

static void await_tick(void)
{
    __asm__ volatile("sti; hlt; cli" : : : "memory");
}

/* How far the time-stamp counter comes in a millisecond. */
static uint32_t calibrate(void)
{
    enum { TICKS = 64 };
    await_tick();
    uint64_t begin = stamp();
    for (unsigned i = 0; i < TICKS; i++)
        await_tick();
    return (uint32_t)(stamp() - begin) / TICKS;
}

static uint32_t number(const char **text)
{
    uint32_t value = 0;
    while (**text == ' ')
        ++*text;
    for (; **text >= '0' && **text <= '9'; ++*text)
        value = value * 10 + (uint32_t)(**text - '0');
    return value;
}

/* QEMU puts the kernel's file name before the words of -append. */
static const char *arguments(const struct multiboot *info)
{
    const char *text = (const char *)info->cmdline;
    while (*text && *text != ' ')
        text++;
    return text;
}

static void write_pages(volatile char *first, uint32_t pages, uint32_t per_ms, uint32_t ms)
{
    volatile uint64_t *count = (volatile uint64_t *)COUNT_AT;
    uint32_t at = 0, each = ms / per_ms;
    uint64_t last = stamp();
    for (*count = 0;;) {
        await_tick();
        uint64_t waited = stamp() - last;
        if (waited > (uint64_t)ms * LATEST_MS)
            last += waited - ms;
        uint32_t due = (uint32_t)(stamp() - last) / each;
        last += (uint64_t)due * each;
        for (; due > 0; due--) {
            *(volatile uint32_t *)(first + (uint64_t)at * PAGE) = (uint32_t)++ * count;
            at = at + 1 < pages ? at + 1 : 0;
        }
    }
}

__attribute__((used, noreturn)) void guest(const struct multiboot *info)
{
    const char *text = arguments(info);
    uint32_t first = number(&text), mib = number(&text), per_ms = number(&text);
    load_tables();
    start_timer();
    uint32_t ms = calibrate();
    if (first > 0 && mib > 0 && per_ms > 0)
        write_pages((volatile char *)((uintptr_t)first * MIB), mib * (MIB / PAGE), per_ms, ms);
    for (;;)
        await_tick();
}
