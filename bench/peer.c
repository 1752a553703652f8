/* SPDX-License-Identifier: BSD-2-Clause */
#include "bench/peer.h"

#include "bench/link.h"
#include "bench/move.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { ANSWER_MS = 120000, QUIT_MS = 5000 };

struct answer {
    int status;
    struct pf_why why;
    struct pf_left left;
};

/* ---- in the child
 * ----------------------------------------------------------------------------------- */

static int obey(const struct pf_bench *bench, struct pf_link *link,
                const struct pf_peer_command *command, struct answer *answer)
{
    int error;
    switch (command->action) {
    case PF_PEER_CONNECT:
        error = pf_link_connect(link, command->uri, bench);
        break;
    case PF_PEER_SERVE:
        error = pf_link_serve(link);
        break;
    case PF_PEER_MOVE:
        return pf_move_away(bench, command, &answer->left, &answer->why);
    default:
        return 0;
    }
    if (error)
        answer->why = link->why;
    return error;
}

static void serve(const struct pf_bench *bench, int fd, struct pf_link *link)
{
    struct pf_peer_command command = {.action = PF_PEER_QUIT};
    while (recv(fd, &command, sizeof command, 0) == (ssize_t)sizeof command) {
        struct answer answer = {.status = 0};
        if (command.action == PF_PEER_QUIT)
            return;
        answer.status = obey(bench, link, &command, &answer);
        if (send(fd, &answer, sizeof answer, MSG_NOSIGNAL) < 0)
            return;
    }
}

static _Noreturn void be_peer(const struct pf_bench *bench, int fd, pid_t parent)
{
    static struct pf_link link; /* large; the child's only one */
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(1); /* it died before that took effect */
    serve(bench, fd, &link);
    pf_link_close(&link);
    _exit(0);
}

/* ---- in the parent
 * ---------------------------------------------------------------------------------- */

int pf_peer_start(struct pf_peer *peer, const struct pf_bench *bench, struct pf_why *why)
{
    int ends[2];
    pid_t parent = getpid();
    *peer = (struct pf_peer){.fd = -1};
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
        return pf_why(why, -errno, "cannot make a socket pair: %s", strerror(errno));
    fflush(NULL);
    pid_t pid = fork();
    if (pid < 0) {
        int error = -errno;
        close(ends[0]);
        close(ends[1]);
        return pf_why(why, error, "cannot start the other end: %s", strerror(-error));
    }
    if (pid == 0) {
        close(ends[0]);
        be_peer(bench, ends[1], parent);
    }
    close(ends[1]);
    *peer = (struct pf_peer){.pid = pid, .fd = ends[0]};
    return 0;
}

int pf_peer_tell(struct pf_peer *peer, const struct pf_peer_command *command, struct pf_why *why)
{
    if (send(peer->fd, command, sizeof *command, MSG_NOSIGNAL) == (ssize_t)sizeof *command)
        return 0;
    return pf_why(why, -ECONNRESET, "the other end of the measurement (process %d) has died",
                  (int)peer->pid);
}

int pf_peer_answer(struct pf_peer *peer, struct pf_why *why)
{
    struct answer answer;
    struct pollfd polled = {.fd = peer->fd, .events = POLLIN};
    int ready;
    do
        ready = poll(&polled, 1, ANSWER_MS);
    while (ready < 0 && errno == EINTR);
    if (ready == 0)
        return pf_why(why, -ETIMEDOUT, "the other end of the measurement has said nothing for %d s",
                      ANSWER_MS / 1000);
    if (recv(peer->fd, &answer, sizeof answer, MSG_DONTWAIT) != (ssize_t)sizeof answer)
        return pf_why(why, -ECONNRESET, "the other end of the measurement (process %d) has died",
                      (int)peer->pid);
    if (answer.status)
        return pf_why(why, answer.status, "the other end: %s", answer.why.text);
    peer->left = answer.left;
    return 0;
}

static bool reap(struct pf_peer *peer)
{
    for (int waited = 0; waited < QUIT_MS; waited += 10) {
        if (waitpid(peer->pid, NULL, WNOHANG) != 0)
            return true;
        usleep(10000);
    }
    return false;
}

void pf_peer_stop(struct pf_peer *peer)
{
    if (peer->pid <= 0)
        return;
    struct pf_peer_command quit = {.action = PF_PEER_QUIT};
    pf_peer_tell(peer, &quit, NULL);
    close(peer->fd);
    if (!reap(peer)) {
        kill(peer->pid, SIGKILL);
        waitpid(peer->pid, NULL, 0);
    }
    *peer = (struct pf_peer){.fd = -1};
}
