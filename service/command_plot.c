/* SPDX-License-Identifier: BSD-2-Clause */
#include "service/command.h"
#include "service/plot.h"

#include <argp.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

struct plot_args {
    const char *record, *output;
};

static error_t parse(int key, char *text, struct argp_state *state)
{
    struct plot_args *args = state->input;
    switch (key) {
    case 'o':
        args->output = text;
        return 0;
    case ARGP_KEY_ARG:
        if (args->record)
            argp_error(state, "\"%s\" is one file too many", text);
        args->record = text;
        return 0;
    case ARGP_KEY_END:
        if (!args->record || !args->output)
            argp_error(state, "give a file with records and where to draw: "
                              "pageferry plot RECORD.json -o latency.svg");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp_option rows[] = {
    {"output", 'o', "FILE", 0, "The picture, FILE.svg; FILE.gp: only the recipe for gnuplot", 0},
    {0},
};

static bool ends_in(const char *text, const char *ending)
{
    size_t length = strlen(text);
    return length > strlen(ending) && strcmp(text + length - strlen(ending), ending) == 0;
}

static int read_records(struct pf_plot *plot, const char *path, struct pf_why *why)
{
    if (strcmp(path, "-") == 0)
        return pf_plot_read(plot, stdin, "standard input", why);
    FILE *in = fopen(path, "re");
    if (!in)
        return pf_why(why, -errno, "%s can't be read: %s", path, strerror(errno));
    int error = pf_plot_read(plot, in, path, why);
    fclose(in);
    return error;
}

static int write_recipe(const struct pf_plot *plot, const char *path, struct pf_why *why)
{
    FILE *out = fopen(path, "we");
    if (out)
        pf_plot_recipe(plot, out);
    if (!out || ferror(out) | fclose(out))
        return pf_why(why, -EIO, "%s can't be written: %s", path, strerror(errno));
    return 0;
}

int pf_command_plot(int argc, char **argv)
{
    static const struct argp argp = {
        .options = rows,
        .parser = parse,
        .args_doc = "RECORD.json",
        .doc =
            "Draw what the rounds of pre-copy did and how long faults blocked the job's threads, "
            "from the records that `pageferry migrate --record` wrote, or that `pageferry status "
            "--json` printed; - is standard input. With all records of a migration also how the "
            "memory came over time. gnuplot draws it.",
    };
    struct plot_args args = {.record = NULL};
    struct pf_why why = {""};
    argp_parse(&argp, argc, argv, 0, NULL, &args);
    bool recipe = ends_in(args.output, ".gp");
    if (!recipe && !ends_in(args.output, ".svg"))
        return pf_complain(PF_EXIT_USAGE, "-o %s: pictures are FILE.svg, recipes FILE.gp",
                           args.output);
    struct pf_plot *plot = calloc(1, sizeof *plot);
    int error = plot ? read_records(plot, args.record, &why)
                     : pf_why(&why, -ENOMEM, "no memory for the records");
    if (!error)
        error =
            recipe ? write_recipe(plot, args.output, &why) : pf_plot_draw(plot, args.output, &why);
    free(plot);
    return error ? pf_complain(PF_EXIT_FAILED, "%s", why.text) : PF_EXIT_OK;
}
