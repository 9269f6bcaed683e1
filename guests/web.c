/* A web server that tells how it is: a page at /, the same as JSON at /status.json. A client has
 * 10 s for the head of a request and 30 s for its body, and stays 60 s without one.
 *
 *   --ipv4=ADDR/LEN      its address
 *   --ipv4-gateway=ADDR  the way to other networks
 *   --tcp-keepalive=S    seconds of silence until a client is asked whether it is there (300)
 *   --tcp-timeout=S      seconds without data until a connection is closed (0: never)
 *   --port=N             where it listens (80)
 *
 * Status: 2 if an option is missing or wrong. */
#include "boot.h"
#include "console.h"
#include "hypercall.h"
#include "manifest.h"
#include "memory.h"
#include "net.h"
#include "options.h"
#include "runtime.h"
#include "web/date.h"
#include "web/http.h"
#include "web/page.h"

GUEST_MANIFEST(NET_DEVICE("net"));

enum {
    HEAD_MAX = 8192,
    FIELDS_MAX = 512,
    REPLY_MAX = 2 * FIELDS_MAX + PAGE_MAX,
};

#define SECOND 1000000000ull
#define ROOM_RETRY (SECOND / 10)

/* What a visitor does. */
enum phase { IDLE, ASKING, SENDING_BODY, RECEIVING };

/* On the time for that. */
static const uint64_t limits[] = {
    [IDLE] = 60 * SECOND,
    [ASKING] = 10 * SECOND,
    [SENDING_BODY] = 30 * SECOND,
    [RECEIVING] = 60 * SECOND, /* until there is room for one more reply */
};

struct visitor {
    enum phase phase;
    uint64_t deadline; /* of the phase */
    struct http_body body;
    bool answered; /* a request */
    bool close;
};

static struct visitor visitors[TCP_CONNECTIONS];
static uint64_t connections, requests;

static const char *date_now(void)
{
    static char text[DATE_SIZE];
    static uint64_t next;
    if (net_now() >= next) {
        uint64_t wall = hypercall_walltime();
        date_format(wall / SECOND, text);
        next = net_now() + SECOND - wall % SECOND;
    }
    return text;
}

static struct page *make_page(const struct http_request *request, int *status)
{
    static struct page page;
    struct status now = {net_now() / 1000000, requests, hypercall_generation(), connections};
    bool readable = text_equal(request->method, "GET") || text_equal(request->method, "HEAD");
    *status = request->status;
    if (*status == 200 && text_equal(request->path, "*"))
        *status = 405;
    else if (*status == 200 && !page_make(&page, request->path, &now))
        *status = 404;
    else if (*status == 200 && !readable)
        *status = 405;
    if (*status != 200) {
        page.type = "text/plain";
        page.length = format(page.content, sizeof page.content, "%s\n", status_text(*status));
    }
    return &page;
}

struct part {
    size_t first, length;
};

/* Writes the field that belongs to the status, if any, and sets the part of the page to send. */
static void choose_part(const struct http_request *request, const struct page *page, int *status,
                        struct part *part, char field[FIELDS_MAX])
{
    *part = (struct part){0, page->length};
    field[0] = '\0';
    if (*status == 405)
        format(field, FIELDS_MAX, "Allow: GET, HEAD\r\n");
    if (*status != 200)
        return;
    if (!request->range.given) {
        format(field, FIELDS_MAX, "Accept-Ranges: bytes\r\n");
    } else if (http_range_of(&request->range, page->length, &part->first, &part->length)) {
        *status = 206;
        format(field, FIELDS_MAX, "Content-Range: bytes %lu-%lu/%lu\r\n", part->first,
               part->first + part->length - 1, page->length);
    } else {
        *status = 416;
        *part = (struct part){0};
        format(field, FIELDS_MAX, "Content-Range: bytes */%lu\r\n", page->length);
    }
}

static void answer(struct tcp *connection, const struct http_request *request)
{
    requests++;
    int status;
    const struct page *page = make_page(request, &status);
    struct part part;
    char field[FIELDS_MAX], head[FIELDS_MAX];
    choose_part(request, page, &status, &part, field);
    size_t length = format(head, sizeof head,
                           "HTTP/1.1 %s\r\n"
                           "Date: %s\r\n"
                           "Content-Type: %s\r\n"
                           "Content-Length: %lu\r\n"
                           "Cache-Control: no-store\r\n"
                           "%s"
                           "Connection: %s\r\n"
                           "\r\n",
                           status_text(status), date_now(), page->type, part.length, field,
                           request->close ? "close" : "keep-alive");
    tcp_write(connection, head, length);
    if (!text_equal(request->method, "HEAD"))
        tcp_write(connection, page->content + part.first, part.length);
}

/* The length of the head, with the empty line at its end; 0 if it is not complete. */
static size_t head_length(const char *head, size_t length)
{
    for (size_t at = 1; at < length; at++) {
        if (head[at] != '\n')
            continue;
        if (head[at - 1] == '\n' || (at >= 2 && head[at - 1] == '\r' && head[at - 2] == '\n'))
            return at + 1;
    }
    return 0;
}

/* Empty lines in front of a head do not count. */
static bool skip_empty_lines(struct tcp *connection)
{
    size_t length, at = 0;
    const uint8_t *data = tcp_peek(connection, &length);
    while (at < length && (data[at] == '\r' || data[at] == '\n'))
        at++;
    tcp_consume(connection, at);
    return at;
}

/* Answers a request if its head is there. */
static bool take_head(struct tcp *connection, struct visitor *visitor)
{
    static char head[HEAD_MAX];
    size_t received = tcp_copy(connection, 0, head, HEAD_MAX);
    size_t length = head_length(head, received);
    struct http_request request = {.status = 431, .close = true};
    if (length)
        request = http_parse((struct text){head, length});
    else if (received < HEAD_MAX)
        return false;
    answer(connection, &request);
    tcp_consume(connection, length);
    visitor->body = request.body;
    visitor->close = request.close;
    visitor->answered = true;
    return true;
}

static void take_body(struct tcp *connection, struct visitor *visitor, const uint8_t *data,
                      size_t length)
{
    tcp_consume(connection, http_body_take(&visitor->body, data, length));
    visitor->close |= visitor->body.state == BODY_BROKEN;
}

/* Takes what has come; returns what the visitor is to do next. */
static enum phase take(struct tcp *connection, struct visitor *visitor)
{
    while (!visitor->close) {
        size_t length;
        const uint8_t *data = tcp_peek(connection, &length);
        if (visitor->body.state != BODY_END) {
            if (!length)
                return SENDING_BODY;
            take_body(connection, visitor, data, length);
            continue;
        }
        if (!length)
            return visitor->answered ? IDLE : ASKING;
        if (tcp_room(connection) < REPLY_MAX)
            return RECEIVING;
        if (!skip_empty_lines(connection) && !take_head(connection, visitor))
            return ASKING;
    }
    return IDLE;
}

static void expire(struct tcp *connection, const struct visitor *visitor)
{
    size_t length;
    tcp_peek(connection, &length);
    if (visitor->phase == RECEIVING) {
        tcp_abort(connection);
        return;
    }
    if (visitor->phase == ASKING && length)
        answer(connection, &(struct http_request){.status = 408, .close = true});
    tcp_close(connection);
}

static void enter(struct visitor *visitor, enum phase phase)
{
    visitor->phase = phase;
    visitor->deadline = net_now() + limits[phase];
}

static void opened(struct tcp *connection)
{
    struct visitor *visitor = &visitors[tcp_index(connection)];
    *visitor = (struct visitor){0};
    enter(visitor, ASKING);
    connections++;
}

static void ready(struct tcp *connection)
{
    struct visitor *visitor = &visitors[tcp_index(connection)];
    uint64_t before = requests;
    enum phase phase = take(connection, visitor);
    if (visitor->close || (phase != RECEIVING && tcp_has_all(connection))) {
        tcp_close(connection);
        return;
    }
    if (phase != visitor->phase || requests != before)
        enter(visitor, phase);
    else if (net_now() >= visitor->deadline) {
        expire(connection, visitor);
        return;
    }
    uint64_t retry = net_now() + ROOM_RETRY;
    bool sooner = phase == RECEIVING && retry < visitor->deadline;
    tcp_call_at(connection, sooner ? retry : visitor->deadline);
}

static void closed(struct tcp *connection)
{
    (void)connection;
    connections--;
}

int guest_main(const struct boot_info *boot)
{
    static const struct tcp_service service = {opened, ready, closed, .yields = true};

    OPTIONS_ALLOW(NET_OPTIONS, "port");
    uint64_t port = option_number("port", 80, UINT16_MAX);
    if (!port) {
        print("--port takes a number from 1 to 65535\n");
        return 2;
    }
    net_start(boot, "net");
    tcp_listen((uint16_t)port, &service);
    print("web: port %lu\n", port);
    net_serve();
}
