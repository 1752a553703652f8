/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/source/round_heed.h"

#include "core/source/source.h"

/* What was chosen, and what it was chosen by, does not hold for another wish. */
static void heed_encoder(struct pf_source *source)
{
    struct pf_encoder *encoder = &source->encoder;
    if (pf_encoder_round(encoder, source->rounds.passes)) {
        source->weighing = (struct pf_weighing){.link = 0};
        pf_job_note(source->job, PF_NOTE_FEWER_BYTES, "%s", "");
    }
    /* Between two rounds the link was idle: it is measured from here on. */
    if (atomic_load(&encoder->undecided))
        source->weighing = (struct pf_weighing){.link = 0};
}

/* What can't be registered any more is no reason to end a migration that goes on without. */
static void heed_pin(struct pf_source *source, unsigned pin)
{
    if (pin == source->rounds.pin)
        return;
    source->rounds.pin = pin;
    pf_job_note(source->job, PF_NOTE_PINNED, "%s", "");
    if (pf_source_pin(source, pin))
        pf_source_pin(source, PF_PIN_AUTO);
}

void pf_round_heed(struct pf_source *source)
{
    struct pf_windows *windows = &source->rounds.windows;
    unsigned pin = (unsigned)pf_knob(&source->job->knobs.pin);
    heed_encoder(source);
    heed_pin(source, pin);
    /* What is compressed goes by the stages: windows would be registered for nothing. */
    windows->by_stages = pin == PF_PIN_STAGE || source->encoder.wish.compress != PF_COMPRESS_OFF;
    /* Not while the job stands and waits. */
    windows->all = pin == PF_PIN_ALL && source->paused_ns == 0;
}
