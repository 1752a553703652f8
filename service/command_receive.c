/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/backends.h"
#include "service/command.h"
#include "service/receive_client.h"
#include "transport/uri_list.h"

#include <errno.h>
#include <stdio.h>

/* A client's job has no program: its memory is another process's. */
struct receive {
    struct pf_launch launch;
    const struct pf_client_kind *kind;
    const char *socket;
};

static void check_complete(const struct receive *receive, struct argp_state *state)
{
    const struct pf_launch *launch = &receive->launch;
    if (!launch->uri)
        argp_error(state, "the address is missing: where to listen, as in tcp://0.0.0.0:7471");
    if (receive->kind && launch->program)
        argp_error(state, "with --client there is no program: the client's memory is received");
    if (!receive->kind != !receive->socket)
        argp_error(state, "--client and --socket go together: who connects, and where");
    if (!receive->kind && !launch->name)
        argp_error(state, "--name is missing: the job needs a name to be found by");
    if (!receive->kind && !launch->program)
        argp_error(state, "the program is missing: pageferry receive URI --name NAME -- PROGRAM");
}

static error_t parse(int key, char *text, struct argp_state *state)
{
    struct receive *receive = state->input;
    struct pf_launch *launch = &receive->launch;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &launch->engine;
        return 0;
    case 'n':
        launch->name = text;
        return 0;
    case 'o':
        launch->once = true;
        return 0;
    case 'c':
        receive->kind = pf_client_kind(text);
        if (!receive->kind)
            argp_error(state, "--client can't be \"%.40s\": firecracker and generic are known",
                       text);
        return 0;
    case 's':
        receive->socket = text;
        return 0;
    case ARGP_KEY_ARG:
        if (!launch->uri) {
            launch->uri = text;
            return 0;
        }
        launch->program = &state->argv[state->next - 1];
        state->next = state->argc;
        return 0;
    case ARGP_KEY_END:
        check_complete(receive, state);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp_option rows[] = {
    {"name", 'n', "NAME", 0, "The job's name on this host (PAGEFERRY_NAME)", 0},
    {"once", 'o', NULL, 0, "Take one connection; if it fails, end (PAGEFERRY_ONCE)", 0},
    {"client", 'c', "firecracker|generic", 0,
     "Receive the memory of another process that hands it over on a socket, instead of a PROGRAM's",
     0},
    {"socket", 's', "PATH", 0, "Where that client connects", 0},
    {0},
};

static int no_transport(const char *uri, struct pf_why *why)
{
    char built[160] = "";
    size_t used = 0;
    for (unsigned i = 0; pf_backends[i] && used < sizeof built; i++)
        if (!pf_backends[i]->for_tests)
            used += (size_t)snprintf(built + used, sizeof built - used, "%s%s",
                                     used > 0 ? ", " : "", pf_backends[i]->scheme);
    return pf_why(why, -EPROTONOSUPPORT, "no transport answers \"%.80s\": this build has %s", uri,
                  built[0] ? built : "none");
}

static int check_uri(const char *text, struct pf_why *why)
{
    struct pf_uri_list list;
    int error = pf_uri_list_parse(text, &list, why);
    for (unsigned i = 0; i < list.count && !error; i++)
        if (!pf_transport_find(pf_backends, list.uris[i]))
            error = no_transport(list.uris[i], why);
    return error;
}

int pf_command_receive(int argc, char **argv)
{
    struct receive receive = {.kind = NULL};
    struct pf_launch *launch = &receive.launch;
    struct pf_why why;
    if (pf_engine_args_init(&launch->engine, &why) != 0)
        return pf_complain(PF_EXIT_USAGE, "%s", why.text);
    const struct argp argp = {
        .options = rows,
        .parser = parse,
        .args_doc =
            "URI[,URI...] -- PROGRAM [ARGUMENT...]\nURI[,URI...] --client KIND --socket PATH",
        .doc = "Start PROGRAM, the same that is to be moved here, as the destination: it listens "
               "on URI (SCHEME://ADDRESS:PORT) and goes on where the source was paused. Several "
               "addresses, separated by commas, are as many rails: each NIC carries a part.",
        .children = launch->engine.child,
    };
    argp_parse(&argp, argc, argv, ARGP_IN_ORDER, NULL, &receive);
    if (check_uri(launch->uri, &why) != 0)
        return pf_complain(PF_EXIT_USAGE, "%s", why.text);
    return receive.kind ? pf_receive_client(launch, receive.kind, receive.socket)
                        : pf_launch(launch);
}
