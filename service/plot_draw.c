/* SPDX-License-Identifier: BSD-2-Clause */
#include "service/plot.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { NO_GNUPLOT = 127 };

/* gnuplot's side of the pipe: the recipe comes in, the picture goes out. Does not return. */
static _Noreturn void become_gnuplot(int recipe, int picture)
{
    if (dup2(recipe, STDIN_FILENO) >= 0 && dup2(picture, STDOUT_FILENO) >= 0)
        execlp("gnuplot", "gnuplot", "-", (char *)NULL);
    _exit(NO_GNUPLOT);
}

/* Write the recipe into the pipe. A gnuplot that has ended by then says so by its exit status. */
static void feed(const struct pf_plot *plot, int fd)
{
    FILE *recipe = fdopen(fd, "w");
    if (!recipe) {
        close(fd);
        return;
    }
    pf_plot_recipe(plot, recipe);
    fclose(recipe);
}

static int judge(pid_t pid, struct pf_why *why)
{
    int status;
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return 0;
    if (WIFEXITED(status) && WEXITSTATUS(status) == NO_GNUPLOT)
        return pf_why(why, -ENOENT,
                      "gnuplot can't be run, which draws the picture: install it (Debian: "
                      "gnuplot-nox), or write the recipe alone with -o FILE.gp");
    return pf_why(why, -EIO, "gnuplot could not draw the picture (status %d)",
                  WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
}

static int run_gnuplot(const struct pf_plot *plot, int picture, struct pf_why *why)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) < 0)
        return pf_why(why, -errno, "no pipe to gnuplot: %s", strerror(errno));
    pid_t pid = fork();
    if (pid == 0)
        become_gnuplot(ends[0], picture);
    int error = errno;
    close(ends[0]);
    if (pid < 0) {
        close(ends[1]);
        return pf_why(why, -error, "gnuplot can't be started: %s", strerror(error));
    }
    feed(plot, ends[1]);
    return judge(pid, why);
}

int pf_plot_draw(const struct pf_plot *plot, const char *path, struct pf_why *why)
{
    int picture = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (picture < 0)
        return pf_why(why, -errno, "%s can't be written: %s", path, strerror(errno));
    void (*before)(int) = signal(SIGPIPE, SIG_IGN);
    int error = run_gnuplot(plot, picture, why);
    signal(SIGPIPE, before);
    close(picture);
    if (error)
        unlink(path);
    return error;
}
