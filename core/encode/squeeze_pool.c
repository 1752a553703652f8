/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/encode/squeeze_pool.h"

#include "core/memory/guarded.h"

#include <errno.h>
#include <signal.h>
#include <string.h>

/* What a thread of the pool has of its own. */
struct desk {
    struct pf_squeezer squeezer;
    _Alignas(64) char input[PF_SQUEEZE_MAX];
};

static void work(struct desk *own, struct pf_squeeze_task *task)
{
    if (task->bytes > sizeof own->input) {
        task->result = -EPROTO;
    } else if (pf_guarded_copy(own->input, task->from, task->bytes)) {
        task->result = -EFAULT;
    } else {
        task->result = task->level > 0 ? pf_squeeze(&own->squeezer, task->how, task->level,
                                                    own->input, task->bytes, task->to)
                                       : pf_unsqueeze(&own->squeezer, task->how, own->input,
                                                      task->bytes, task->to, task->to_bytes);
    }
    task->done(task);
}

/* NULL: the pool closes and nothing is left. */
static struct pf_squeeze_task *next(struct pf_squeeze_pool *pool)
{
    pthread_mutex_lock(&pool->lock);
    while (pf_list_empty(&pool->waiting) && !pool->stop)
        pthread_cond_wait(&pool->wake, &pool->lock);
    struct pf_list *item = pf_list_pop(&pool->waiting);
    pthread_mutex_unlock(&pool->lock);
    return item ? pf_container_of(item, struct pf_squeeze_task, link) : NULL;
}

static void *run(void *arg)
{
    struct desk own;
    struct pf_squeeze_task *task;
    memset(&own.squeezer, 0, sizeof own.squeezer);
    while ((task = next(arg)))
        work(&own, task);
    pf_squeezer_free(&own.squeezer);
    return NULL;
}

void pf_squeeze_pool_init(struct pf_squeeze_pool *pool, unsigned threads)
{
    memset(pool, 0, sizeof *pool);
    pool->made = true;
    pool->asked = threads;
    pool->wanted = threads < PF_SQUEEZE_THREADS_MAX ? threads : PF_SQUEEZE_THREADS_MAX;
    pthread_mutex_init(&pool->lock, NULL);
    pthread_cond_init(&pool->wake, NULL);
    pf_list_init(&pool->waiting);
}

/* Fewer threads than wanted do as well; none don't. With all signals blocked: they are the job's.
 */
static int start_threads(struct pf_squeeze_pool *pool)
{
    sigset_t all;
    sigset_t before;
    int error = 0;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    while (pool->running < pool->wanted && !error) {
        error = pthread_create(&pool->threads[pool->running], NULL, run, pool);
        if (!error)
            pthread_setname_np(pool->threads[pool->running++], "pf-squeeze");
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pool->wanted = pool->running;
    return error;
}

int pf_squeeze_pool_add(struct pf_squeeze_pool *pool, struct pf_squeeze_task *task,
                        struct pf_why *why)
{
    int error = 0;
    pthread_mutex_lock(&pool->lock);
    if (pool->running == 0)
        error = start_threads(pool);
    bool running = pool->running > 0;
    if (running)
        pf_list_append(&pool->waiting, &task->link);
    pthread_mutex_unlock(&pool->lock);
    if (!running)
        return pf_why(why, -EAGAIN, "cannot start a thread that compresses: %s",
                      strerror(error ? error : EAGAIN));
    pthread_cond_signal(&pool->wake);
    return 0;
}

void pf_squeeze_pool_close(struct pf_squeeze_pool *pool)
{
    if (!pool->made)
        return;
    pthread_mutex_lock(&pool->lock);
    pool->stop = true;
    pthread_mutex_unlock(&pool->lock);
    pthread_cond_broadcast(&pool->wake);
    for (unsigned i = 0; i < pool->running; i++)
        pthread_join(pool->threads[i], NULL);
    pthread_cond_destroy(&pool->wake);
    pthread_mutex_destroy(&pool->lock);
    memset(pool, 0, sizeof *pool);
}
