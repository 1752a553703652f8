/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The engine's options: one table gives each its name, default, meaning, type and range. The
 * defaults, the environment (option peer-timeout is PAGEFERRY_PEER_TIMEOUT) and the command line
 * all go through it, in this order; the later one wins.
 */
#ifndef PF_CORE_OPTIONS_H
#define PF_CORE_OPTIONS_H

#include "base/why.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum pf_wait {
    PF_WAIT_SPIN,  /* look again and again, yielding, for spin_us; then sleep */
    PF_WAIT_SLEEP, /* sleep at once */
};

enum pf_fetch_mode {
    PF_FETCH_WRITE, /* the source writes pages to the destination */
    PF_FETCH_READ,  /* the destination reads them from the source */
};

enum pf_place {
    PF_PLACE_AUTO,     /* continue where that can be and is worth it */
    PF_PLACE_COPY,     /* from slots and stages, UFFDIO_COPY */
    PF_PLACE_CONTINUE, /* written into the file, UFFDIO_CONTINUE */
};

enum pf_prealloc {
    PF_PREALLOC_AUTO, /* ahead of what comes before the switch */
    PF_PREALLOC_OFF,
    PF_PREALLOC_ON, /* all of it, while nobody has come yet */
};

enum pf_mode {
    PF_MODE_PRECOPY,  /* rounds while the job runs, the last one after the pause */
    PF_MODE_POSTCOPY, /* no rounds: all pages follow the job */
    PF_MODE_HYBRID,   /* a round or two, then post-copy for what is left */
    PF_MODE_AUTO,     /* rounds as long as they come to an end, else post-copy */
};

enum pf_tracking {
    PF_TRACK_AUTO, /* the first that works here */
    PF_TRACK_PAGEMAP_SCAN,
    PF_TRACK_SOFT_DIRTY,
    PF_TRACK_WRITE_PROTECT,
};

enum pf_pin {
    PF_PIN_AUTO,  /* chunk where the memlock limit allows it, else stage */
    PF_PIN_ALL,   /* whole regions, at once */
    PF_PIN_CHUNK, /* what is used of them, 16 MiB at a time */
    PF_PIN_STAGE, /* none of the job's memory: pages are copied on their way */
};

enum pf_compress { PF_COMPRESS_OFF, PF_COMPRESS_ZSTD, PF_COMPRESS_LZ4 };

enum pf_fewer_bytes {
    PF_FEWER_BYTES_MANUAL, /* what compress and xbzrle say */
    PF_FEWER_BYTES_AUTO,   /* what the link and the CPU suggest */
};

enum pf_throttle_how {
    PF_THROTTLE_OFF,
    PF_THROTTLE_AUTO, /* at safe points if the job has some */
    PF_THROTTLE_SAFEPOINT,
    PF_THROTTLE_CGROUP,
    PF_THROTTLE_FREEZER,
};

struct pf_options {
    unsigned wait; /* enum pf_wait */
    unsigned spin_us;
    unsigned slots;      /* page requests that may be under way at once */
    unsigned stages;     /* batches of the bulk lane that may be under way at once */
    uint64_t stage_size; /* 0: auto */
    unsigned place;      /* enum pf_place: how pages of shared regions are placed */
    unsigned prealloc;   /* enum pf_prealloc; the destination's */
    char placement[16];  /* "auto", "none" or the number of a NUMA node */
    bool background;
    bool prefetch;            /* a destination grants trays, a source fills them */
    uint64_t prefetch_window; /* most bytes of neighbours behind one answer */
    unsigned peer_timeout_ms;
    unsigned connect_timeout_ms;
    unsigned progress_ms;
    unsigned hold_at; /* the safe point that waits for a migration, counted from 1; 0: none */
    unsigned fetch;   /* enum pf_fetch_mode; the source's */
    bool release_ram; /* the source gives back memory that the destination has */

    /* Pre-copy; all of them the source's. Those in core/knobs.h are read from there. */
    unsigned mode;        /* enum pf_mode */
    unsigned downtime;    /* ms: what finishing by pre-copy may take */
    uint64_t bandwidth;   /* bytes/s of pages in the background; 0: as many as go */
    unsigned max_rounds;  /* 0: no limit */
    unsigned tracker;     /* enum pf_tracking */
    unsigned pin;         /* enum pf_pin */
    unsigned fewer_bytes; /* enum pf_fewer_bytes */
    unsigned compress;    /* enum pf_compress */
    unsigned compress_level, compress_threads;
    bool xbzrle;
    uint64_t xbzrle_cache;                                  /* bytes */
    unsigned throttle;                                      /* enum pf_throttle_how */
    unsigned throttle_initial, throttle_step, throttle_max; /* percent of the job's time */
};

enum pf_option_type {
    PF_OPTION_BOOL,      /* bool: on, yes, true, 1 and their opposites */
    PF_OPTION_UNSIGNED,  /* unsigned */
    PF_OPTION_SECONDS,   /* unsigned milliseconds, written in seconds: 15, 0.5 */
    PF_OPTION_SIZE,      /* uint64_t bytes: 4096, 64K, 1M, 2GiB (powers of 1024) */
    PF_OPTION_CHOICE,    /* unsigned: the place of the word in choices */
    PF_OPTION_PLACEMENT, /* char [16]: auto, none or a number */
};

struct pf_option {
    const char *name;
    const char *fallback; /* the default, as it would be written */
    const char *doc;      /* one line, without a full stop */
    const char *metavar;  /* what stands for the value in a help text */
    enum pf_option_type type;
    bool automatic;             /* sizes: "auto" is a value too, stored as 0 */
    size_t offset;              /* in struct pf_options */
    uint64_t minimum, maximum;  /* of numbers, in the unit of the field */
    uint64_t multiple;          /* sizes: must divide the value; 0: no such rule */
    const char *const *choices; /* NULL-terminated */
};

enum { PF_OPTION_COUNT = 33, PF_OPTION_TEXT_MAX = 32 };

/* The table, PF_OPTION_COUNT long. */
extern const struct pf_option pf_option_table[];

/* Fill in the defaults. */
void pf_options_init(struct pf_options *options);

/* Bytes of pages in a batch of the page stream, where the largest host page has so many. */
size_t pf_options_stage_size(const struct pf_options *options, size_t largest_page);

/* The place of an option in the table, or -1. */
int pf_options_find(const char *name);

/* The environment variable that reaches the option at index: "PAGEFERRY_SPIN_US". */
void pf_options_variable(unsigned index, char out[PF_OPTION_TEXT_MAX]);

/*
 * Take every option that the environment sets; variables of other names are not looked at. Stops
 * at the first bad value with -EINVAL; the sentence names the variable, the value, what is allowed.
 */
int pf_options_from_environment(struct pf_options *options, struct pf_why *why);

/*
 * Set one option from text. -ENOENT no such option, -EINVAL or -ERANGE a bad value; nothing is
 * changed then, and the sentence names the option, the value and what is allowed.
 */
int pf_options_set(struct pf_options *options, const char *name, const char *value,
                   struct pf_why *why);

/* Whether the values go together: -EINVAL and a sentence where they contradict each other. */
int pf_options_agree(const struct pf_options *options, struct pf_why *why);

/* Write the value of the option at index as pf_options_set() would read it back. */
void pf_options_format(const struct pf_options *options, unsigned index,
                       char out[PF_OPTION_TEXT_MAX]);

#endif
