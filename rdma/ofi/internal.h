/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The ofi back end's own objects.
 *
 * Each endpoint has a completion queue of its own. A write with immediate data uses up no posted
 * receive on most providers, so its completion names no context of ours: only the queue it arrives
 * in says which connection it came by. It also means that nothing of a closed endpoint can turn up
 * later: the queue is closed with it.
 *
 * Connections are made in one of two ways (struct pf_ofi_cm): by the provider itself where it has
 * connected endpoints (FI_EP_MSG: tcp, net, verbs), else over a side socket (FI_EP_RDM: shm, efa,
 * cxi) that also notices a dead peer.
 */
#ifndef PF_RDMA_OFI_INTERNAL_H
#define PF_RDMA_OFI_INTERNAL_H

#include "transport/transport.h"
#include "transport/uri.h"

#include <pthread.h>
#include <rdma/fabric.h>
#include <rdma/fi_cm.h>
#include <rdma/fi_domain.h>
#include <rdma/fi_endpoint.h>
#include <rdma/fi_eq.h>
#include <rdma/fi_errno.h>
#include <rdma/fi_rma.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <sys/uio.h>

enum {
    PF_OFI_GATHER = 8,        /* entries of a gather list that a record has room for */
    PF_OFI_INLINE = 256,      /* no caller needs longer unregistered sends */
    PF_OFI_SPARE = 16,        /* receives posted beyond the caller's, for control messages */
    PF_OFI_FLUSHES = 4,       /* flush messages on the wire at once; with their answers, a hello */
                              /* and a good-bye they fit into the peer's spare receives */
    PF_OFI_MAX_DEPTH = 1024,  /* operations of a kind on one endpoint */
    PF_OFI_ADDRESS_MAX = 256, /* a provider's endpoint name */
    PF_OFI_PARAM_MAX = 256,   /* connection data, as large as any provider hands us */
};

#define PF_OFI_MAX_MESSAGE ((size_t)1 << 30)
#define PF_OFI_SECOND      1000000000ull
#define PF_OFI_CONNECT_NS  (5 * PF_OFI_SECOND) /* until connected() or closed() */
#define PF_OFI_CLOSE_NS    (1 * PF_OFI_SECOND) /* for the peer's good-bye */
#define PF_OFI_HOLD_NS     (1 * PF_OFI_SECOND) /* for the caller's missing receive */

struct pf_ofi_cm;

struct pf_ofi_device {
    struct pf_device device;
    struct fi_info *info;
    struct fid_fabric *fabric;
    struct fid_domain *domain;
    const struct pf_ofi_cm *cm;
    pthread_mutex_t lock;  /* of grants and graves */
    struct pf_list graves; /* grave.c */
    bool local;            /* peers are on this host: names and unix sockets, no addresses */
    bool imm_takes_rx;     /* FI_RX_CQ_DATA: an immediate uses up one of the provider's receives */
    bool orders_sends;     /* a send arrives after earlier writes have landed (FI_ORDER_SAW) */
    bool checks_keys;      /* the provider doesn't report a wrong key: keys.c does */
};

struct pf_ofi_lane {
    struct pf_lane lane;
    struct fid_eq *eq; /* NULL where the provider has no connected endpoints */
    int epoll_fd;      /* -1 where the provider can't sleep */
    int timer_fd;
    struct pf_list endpoints;
    struct pf_list listeners;
    struct pf_list orphans; /* finished operations of endpoints that are gone */
    unsigned running;       /* depth of pf_progress(): nothing on the lists is freed while > 0 */
    unsigned ticks;
    bool unsettled; /* an endpoint is coming up or going down: look at connections every time */
    bool looking;   /* this pf_progress() looks at connections */
};

struct pf_ofi_listener {
    struct pf_listener listener;
    struct pf_list link;
    struct fid_pep *pep;      /* connected endpoints */
    int fd;                   /* side socket, else -1 */
    struct pf_list half_open; /* side connections whose first message is not here yet */
    unsigned half_open_count;
    struct pf_uri uri;
    bool closed;          /* by the owner; lives on until its requests are answered */
    atomic_uint requests; /* unanswered; a request may be answered on another lane's thread */
};

/* The side connection of an endpoint (side.c). */
struct pf_ofi_side {
    struct pf_list link; /* in the listener's half_open */
    int fd;
    bool connecting; /* TCP only: connect() is still under way */
    uint64_t deadline;
    size_t used, taken;
    char in[2048];
};

/* Frames of the side connection, in host byte order: a stranger's magic differs. */
enum pf_ofi_frame_kind {
    PF_OFI_FRAME_CONNECT = 1, /* struct pf_ofi_card */
    PF_OFI_FRAME_ACCEPT,      /* struct pf_ofi_card */
    PF_OFI_FRAME_REJECT,      /* struct pf_ofi_card, without an address */
    PF_OFI_FRAME_KEY,         /* struct pf_ofi_key: a registration that the peer may use */
    PF_OFI_FRAME_BYE,         /* struct pf_ofi_bye: the end of the stream follows */
};

struct pf_ofi_card {
    uint32_t recv_size;
    uint16_t address_length;
    uint16_t data_length;
    char address[PF_OFI_ADDRESS_MAX];
    char data[PF_PRIVATE_DATA_MAX];
};

struct pf_ofi_key {
    uint64_t key, address, length;
    uint64_t access; /* enum pf_access */
};

struct pf_ofi_bye {
    int64_t status;  /* 0, or the error that ended the sender's endpoint */
    uint64_t spoken; /* completions that the sender has caused at the receiver */
};

struct pf_ofi_frame {
    enum pf_ofi_frame_kind kind;
    size_t length;
    const void *body;
};

struct pf_ofi_request {
    struct pf_request request;
    struct pf_ofi_listener *listener;
    struct fi_info *info;     /* connected endpoints */
    struct pf_ofi_side *side; /* else */
    struct pf_ofi_card card;
};

struct pf_ofi_mr {
    struct pf_mr mr;
    struct fid_mr *fid; /* NULL where keys are bound to endpoints and no local one is needed */
    struct pf_list grants;
};

enum pf_ofi_kind { PF_OFI_SEND, PF_OFI_WRITE, PF_OFI_READ, PF_OFI_FLUSH };

/*
 * One posted operation. The provider gets this as its context and not the caller's pf_op, whose
 * memory is the caller's again as soon as the endpoint is closed.
 */
struct pf_ofi_record {
    struct fi_context2 context; /* first: the provider's while posted (FI_CONTEXT2) */
    struct pf_list link;        /* free, waiting or posted */
    struct pf_op *op;
    enum pf_ofi_kind kind;
    unsigned count;
    uint32_t imm;
    uint64_t flags; /* FI_REMOTE_CQ_DATA or 0 */
    uint64_t remote, key;
    size_t bytes;
    struct iovec iov[PF_OFI_GATHER];
    void *desc[PF_OFI_GATHER];
};

/* What arrived, or a provider's receive that waits for something to arrive. */
struct pf_ofi_arrival {
    struct fi_context2 context; /* first, as above */
    struct pf_list link;        /* idle, held or spare; on none while posted */
    char *buffer;               /* NULL: for immediates that use up no receive */
    size_t bytes;
    bool has_imm;
    bool flush_ask; /* held: the peer's flush is behind arrivals without a receive */
    uint32_t imm;
};

enum pf_ofi_state {
    PF_OFI_CONNECTING,
    PF_OFI_WARMING, /* both know the other's address; the provider's own handshake goes on */
    PF_OFI_CONNECTED,
    PF_OFI_DRAINING, /* pf_shutdown(): what is posted still goes out */
    PF_OFI_CLOSING,  /* we said good-bye and wait for the peer's */
    PF_OFI_ENDED,    /* the provider's endpoint is closed; closed() is due */
    PF_OFI_REPORTED, /* closed() was called */
    PF_OFI_GONE,     /* pf_endpoint_close() was called inside pf_progress() */
};

struct pf_ofi_endpoint {
    struct pf_endpoint endpoint;
    struct pf_list link;
    struct pf_ofi_device *device;
    enum pf_ofi_state state;
    int status;        /* for closed() */
    uint64_t deadline; /* of the state; 0: none */

    struct fid_ep *ep;
    struct fid_cq *cq;
    struct fid_av *av;
    fi_addr_t peer;
    struct pf_ofi_side *side;
    char name[PF_OFI_ADDRESS_MAX]; /* our endpoint's, where it is a string, else empty */
    struct pf_ofi_card answer;     /* the peer's: data for connected() or closed() */

    unsigned send_depth, recv_depth;
    size_t recv_size;
    size_t peer_recv_size; /* the longest message that the peer has room for */
    unsigned sends, receives;

    struct pf_ofi_record *records;
    struct pf_list free_records;
    struct pf_list waiting; /* the provider had no room; in order */
    struct pf_list posted;
    unsigned flushes; /* flush messages on the wire */

    struct pf_list wanted; /* the caller's receives */
    struct pf_ofi_arrival *arrivals;
    char *buffers;
    struct fid_mr *buffers_mr;
    struct pf_list idle;  /* to be posted to the provider */
    struct pf_list spare; /* for immediates that use up no provider receive */
    unsigned spare_count;
    struct pf_list held; /* arrived before the caller's receive, in order */
    uint64_t held_until;

    struct pf_list finished; /* operations whose done() is due */

    bool hello_owed, bye_owed, bye_said;
    unsigned answers_owed; /* to flush messages of the peer */
    bool hung_up;          /* the connection ended: when the queue is empty, so do we */
    uint64_t spoken;       /* messages and immediates that we sent */
    uint64_t heard;        /* that we received */
    uint64_t last_words;   /* what the peer had sent in all, once it said so */
    bool peer_left;

    struct pf_ofi_key *keys; /* the peer's registrations, where checks_keys */
    unsigned key_count, key_room, key_last;
    struct pf_list grants;
};

/* How connections are made and noticed to end. The poll functions may be NULL. */
struct pf_ofi_cm {
    enum fi_ep_type type;
    int (*listen)(struct pf_ofi_listener *listener, struct pf_why *why);
    void (*unlisten)(struct pf_ofi_listener *listener);
    unsigned (*poll_listener)(struct pf_ofi_listener *listener);
    int (*connect)(struct pf_ofi_endpoint *endpoint, const struct pf_uri *uri, const void *data,
                   size_t length, struct pf_why *why);
    int (*accept)(struct pf_ofi_request *request, struct pf_ofi_endpoint *endpoint,
                  const void *data, size_t length, struct pf_why *why);
    void (*reject)(struct pf_ofi_request *request, const void *data, size_t length);
    unsigned (*poll_endpoint)(struct pf_ofi_endpoint *endpoint);
};

extern const struct pf_ofi_cm pf_ofi_cm_msg;
extern const struct pf_ofi_cm pf_ofi_cm_side;

/* error.c */
int pf_ofi_error(ssize_t code);
int pf_ofi_completion_error(const struct fi_info *info, const struct fi_cq_err_entry *entry);

/* info.c */
int pf_ofi_info_find(const struct pf_uri *uri, bool for_listen, struct fi_info **info,
                     struct pf_why *why);
void pf_ofi_info_caps(const struct fi_info *info, struct pf_caps *caps);

/* address.c */
int pf_ofi_address_source(struct fi_info *info, const struct pf_uri *uri, struct pf_why *why);
int pf_ofi_address_target(struct fi_info *info, const struct pf_uri *uri, struct pf_why *why);
void pf_ofi_address_any_port(struct fi_info *info);
int pf_ofi_address_uri(const void *address, struct pf_uri *uri);
int pf_ofi_address_socket(const struct pf_uri *uri, bool passive, struct sockaddr *out,
                          socklen_t *length, struct pf_why *why);

/* device.c */
int pf_ofi_query(const struct pf_device_attr *attr, struct pf_caps *caps, struct pf_why *why);
int pf_ofi_device_open(const struct pf_device_attr *attr, struct pf_device **device,
                       struct pf_why *why);
void pf_ofi_device_close(struct pf_device *device);

/* mr.c */
int pf_ofi_mr_reg(struct pf_device *device, void *addr, size_t len, unsigned access,
                  struct pf_mr **mr, struct pf_why *why);
void pf_ofi_mr_dereg(struct pf_mr *mr);
int pf_ofi_mr_open(struct pf_ofi_device *device, void *addr, size_t len, uint64_t access,
                   struct fid_mr **fid);
void *pf_ofi_mr_desc(const struct pf_ofi_device *device, const struct pf_mr *mr);
int pf_ofi_rkey_pack(struct pf_mr *mr, struct pf_endpoint *endpoint, uint8_t out[PF_RKEY_BYTES]);
int pf_ofi_rkey_unpack(struct pf_endpoint *endpoint, const uint8_t in[PF_RKEY_BYTES],
                       struct pf_rkey *rkey);

/* grant.c: keys that were given out */
int pf_ofi_grant_key(struct pf_ofi_mr *mr, struct pf_ofi_endpoint *endpoint, uint64_t *key);
void pf_ofi_grant_end_mr(struct pf_ofi_mr *mr);
void pf_ofi_grant_end_endpoint(struct pf_ofi_endpoint *endpoint);

/* grave.c: closing an endpoint whose peer uses its memory */
bool pf_ofi_grave_bury(struct pf_ofi_endpoint *endpoint);
void pf_ofi_grave_sweep(struct pf_ofi_device *device);

/* keys.c: the peer's registrations, checked here where the provider does not report an error */
int pf_ofi_keys_learn(struct pf_ofi_endpoint *endpoint, const struct pf_ofi_frame *frame);
bool pf_ofi_keys_allow(struct pf_ofi_endpoint *endpoint, uint64_t key, uint64_t remote,
                       size_t length, unsigned access);

/* lane.c */
int pf_ofi_lane_open(struct pf_device *device, const struct pf_lane_attr *attr,
                     struct pf_lane **lane, struct pf_why *why);
void pf_ofi_lane_close(struct pf_lane *lane);
int pf_ofi_progress(struct pf_lane *lane, unsigned budget);
void pf_ofi_lane_reap(struct pf_ofi_lane *lane);

/* sleep.c */
int pf_ofi_sleep_open(struct pf_ofi_lane *lane);
void pf_ofi_sleep_close(struct pf_ofi_lane *lane);
int pf_ofi_sleep_watch(struct pf_ofi_lane *lane, int fd);
int pf_ofi_sleep_watch_fid(struct pf_ofi_lane *lane, struct fid *fid);
void pf_ofi_sleep_forget(struct pf_ofi_lane *lane, int fd);
void pf_ofi_sleep_forget_fid(struct pf_ofi_lane *lane, struct fid *fid);
int pf_ofi_lane_fd(struct pf_lane *lane);
int pf_ofi_lane_arm(struct pf_lane *lane);

/* eq.c */
unsigned pf_ofi_eq_progress(struct pf_ofi_lane *lane);

/* hello.c: what travels with a connection made by the provider, before the caller's data */
size_t pf_ofi_hello_pack(size_t recv_size, const void *data, size_t length, char *out);
int pf_ofi_hello_unpack(const char *in, size_t length, struct pf_ofi_card *card);

/* listener.c */
int pf_ofi_listen(struct pf_lane *lane, const char *uri, const struct pf_listener_events *events,
                  void *ctx, struct pf_listener **listener, struct pf_why *why);
int pf_ofi_listener_uri(struct pf_listener *listener, char *out, size_t size);
void pf_ofi_listener_close(struct pf_listener *listener);
bool pf_ofi_listener_idle(struct pf_ofi_listener *listener);
void pf_ofi_listener_free(struct pf_ofi_listener *listener);
struct pf_ofi_request *pf_ofi_request_new(struct pf_ofi_listener *listener);
void pf_ofi_request_free(struct pf_ofi_request *request);
int pf_ofi_accept(struct pf_request *request, struct pf_lane *lane,
                  const struct pf_endpoint_attr *attr, const void *data, size_t len,
                  struct pf_endpoint **endpoint, struct pf_why *why);
void pf_ofi_reject(struct pf_request *request, const void *data, size_t len);

/* side.c */
struct pf_ofi_side *pf_ofi_side_new(int fd);
void pf_ofi_side_free(struct pf_ofi_side *side);
int pf_ofi_side_send(struct pf_ofi_side *side, enum pf_ofi_frame_kind kind, const void *body,
                     size_t length);
int pf_ofi_side_next(struct pf_ofi_side *side, struct pf_ofi_frame *frame);
void pf_ofi_side_bye(struct pf_ofi_endpoint *endpoint);
void pf_ofi_side_drop(struct pf_ofi_endpoint *endpoint);

/* side_socket.c */
int pf_ofi_side_socket_listen(const struct pf_ofi_device *device, struct pf_uri *uri,
                              struct pf_why *why);
int pf_ofi_side_socket_connect(const struct pf_ofi_device *device, const struct pf_uri *uri,
                               bool *connecting, struct pf_why *why);
int pf_ofi_side_socket_accept(const struct pf_ofi_device *device, int listening);

/* resources.c: the provider's side of an endpoint */
int pf_ofi_resources_open(struct pf_ofi_endpoint *endpoint, struct fi_info *info,
                          struct pf_why *why);
void pf_ofi_resources_close(struct pf_ofi_endpoint *endpoint);

/* endpoint.c */
int pf_ofi_connect(struct pf_lane *lane, const char *uri, const struct pf_endpoint_attr *attr,
                   const void *data, size_t len, struct pf_endpoint **endpoint, struct pf_why *why);
int pf_ofi_endpoint_new(struct pf_lane *lane, const struct pf_endpoint_attr *attr,
                        struct pf_ofi_endpoint **endpoint, struct pf_why *why);
void pf_ofi_endpoint_free(struct pf_ofi_endpoint *endpoint);
void pf_ofi_endpoint_connected(struct pf_ofi_endpoint *endpoint);
void pf_ofi_endpoint_fail(struct pf_ofi_endpoint *endpoint, int status);
void pf_ofi_endpoint_end(struct pf_ofi_endpoint *endpoint, int status);
unsigned pf_ofi_endpoint_progress(struct pf_ofi_endpoint *endpoint, unsigned budget);
void pf_ofi_shutdown(struct pf_endpoint *endpoint);
void pf_ofi_endpoint_close(struct pf_endpoint *endpoint);

/* completion.c */
unsigned pf_ofi_completions(struct pf_ofi_endpoint *endpoint, unsigned budget);

/* control.c: messages of the back end's own, which the callers never see */
enum pf_ofi_control { PF_OFI_HELLO = 1, PF_OFI_FLUSH_ASK, PF_OFI_FLUSH_ANSWER, PF_OFI_BYE };
bool pf_ofi_control_is(const struct fi_cq_data_entry *entry);
int pf_ofi_control_send(struct pf_ofi_endpoint *endpoint, enum pf_ofi_control what, int status);
void pf_ofi_control_owed(struct pf_ofi_endpoint *endpoint);
unsigned pf_ofi_control_arrived(struct pf_ofi_endpoint *endpoint, struct pf_ofi_arrival *arrival);

/* receive.c */
int pf_ofi_recv(struct pf_endpoint *endpoint, const struct pf_sge *sge, struct pf_op *op);
int pf_ofi_receive_open(struct pf_ofi_endpoint *endpoint);
void pf_ofi_receive_post(struct pf_ofi_endpoint *endpoint);
unsigned pf_ofi_receive_arrived(struct pf_ofi_endpoint *endpoint, struct pf_ofi_arrival *arrival);
bool pf_ofi_receive_ready(const struct pf_ofi_endpoint *endpoint);
unsigned pf_ofi_receive_held(struct pf_ofi_endpoint *endpoint, unsigned budget);
void pf_ofi_receive_recycle(struct pf_ofi_endpoint *endpoint, struct pf_ofi_arrival *arrival);

/* transfer.c */
int pf_ofi_send(struct pf_endpoint *endpoint, const struct pf_sge *sgl, unsigned count,
                struct pf_op *op);
int pf_ofi_write(struct pf_endpoint *endpoint, const struct pf_sge *sgl, unsigned count,
                 uint64_t remote, const struct pf_rkey *rkey, struct pf_op *op);
int pf_ofi_write_imm(struct pf_endpoint *endpoint, const struct pf_sge *sgl, unsigned count,
                     uint64_t remote, const struct pf_rkey *rkey, uint32_t imm, struct pf_op *op);
int pf_ofi_read(struct pf_endpoint *endpoint, const struct pf_sge *sgl, unsigned count,
                uint64_t remote, const struct pf_rkey *rkey, struct pf_op *op);
int pf_ofi_flush(struct pf_endpoint *endpoint, struct pf_op *op);

/* record.c */
int pf_ofi_record_open(struct pf_ofi_endpoint *endpoint);
struct pf_ofi_record *pf_ofi_record_take(struct pf_ofi_endpoint *endpoint, enum pf_ofi_kind kind,
                                         struct pf_op *op);
int pf_ofi_record_start(struct pf_ofi_endpoint *endpoint, struct pf_ofi_record *record);
void pf_ofi_record_retry(struct pf_ofi_endpoint *endpoint);
unsigned pf_ofi_record_done(struct pf_ofi_endpoint *endpoint, struct pf_ofi_record *record,
                            int status);
unsigned pf_ofi_record_flushed(struct pf_ofi_endpoint *endpoint);
void pf_ofi_record_cancel(struct pf_ofi_endpoint *endpoint, int status);

/* finished.c: operations that ended outside pf_progress(); done() comes from the next one */
void pf_ofi_finish(struct pf_ofi_endpoint *endpoint, struct pf_op *op, int status, size_t bytes);
unsigned pf_ofi_finished_report(struct pf_list *finished, unsigned budget);
void pf_ofi_finished_orphan(struct pf_ofi_endpoint *endpoint);
static inline struct pf_ofi_endpoint *pf_ofi_endpoint_of(struct pf_endpoint *endpoint)
{
    return pf_container_of(endpoint, struct pf_ofi_endpoint, endpoint);
}

static inline struct pf_ofi_device *pf_ofi_device_of(struct pf_device *device)
{
    return pf_container_of(device, struct pf_ofi_device, device);
}

static inline struct pf_ofi_lane *pf_ofi_lane_of(struct pf_lane *lane)
{
    return pf_container_of(lane, struct pf_ofi_lane, lane);
}

#endif
