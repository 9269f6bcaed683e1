#include "page.h"

#include "console.h"

static const char html[] =
    "<!doctype html>\n"
    "<html lang=\"en\">\n"
    "<meta charset=\"utf-8\">\n"
    "<meta name=\"viewport\" content=\"width=device-width\">\n"
    "<link rel=\"icon\" href=\"data:,\">\n"
    "<title>vlockstep</title>\n"
    "<style>\n"
    "body { font: 1.1rem/1.5 system-ui, sans-serif; max-width: 32rem; margin: 4rem auto;\n"
    "       padding: 0 1rem; color: #222; background: #fafafa }\n"
    "dl { display: grid; grid-template-columns: auto 1fr; gap: .3rem 1.5rem }\n"
    "dt { color: #666 }\n"
    "dd { margin: 0; font-variant-numeric: tabular-nums; font-weight: 600 }\n"
    "#lost { color: #b00; visibility: hidden }\n"
    "</style>\n"
    "<h1>Served in lockstep</h1>\n"
    "<p>This page comes from a unikernel that keeps running when the machine below it fails.\n"
    "<dl>\n"
    "<dt>Up for<dd><span id=\"uptime\">%lu.%lu</span> s\n"
    "<dt>Requests served<dd id=\"requests\">%lu\n"
    "<dt>Connections<dd id=\"connections\">%lu\n"
    "<dt>Generation<dd id=\"generation\">%lu\n"
    "</dl>\n"
    "<p id=\"lost\">No answer; trying again.\n"
    "<script>\n"
    "const show = (id, text) => document.getElementById(id).textContent = text;\n"
    "const lost = document.getElementById('lost').style;\n"
    "async function update() {\n"
    "  try {\n"
    "    const status = await (await fetch('/status.json')).json();\n"
    "    show('uptime', (status.uptime_ms / 1000).toFixed(1));\n"
    "    for (const id of ['requests', 'connections', 'generation']) show(id, status[id]);\n"
    "    lost.visibility = 'hidden';\n"
    "  } catch {\n"
    "    lost.visibility = 'visible';\n"
    "  }\n"
    "  setTimeout(update, 1000);\n"
    "}\n"
    "setTimeout(update, 1000);\n"
    "</script>\n"
    "</html>\n";

static const char json[] =
    "{\"uptime_ms\": %lu, \"requests\": %lu, \"connections\": %lu, \"generation\": %lu}\n";

bool page_make(struct page *page, struct text path, const struct status *status)
{
    if (text_equal(path, "/")) {
        page->type = "text/html; charset=utf-8";
        page->length = format(page->content, sizeof page->content, html,
                              status->uptime_ms / 1000, status->uptime_ms / 100 % 10,
                              status->requests, status->connections, status->generation);
        return true;
    }
    if (text_equal(path, "/status.json")) {
        page->type = "application/json";
        page->length = format(page->content, sizeof page->content, json, status->uptime_ms,
                              status->requests, status->connections, status->generation);
        return true;
    }
    return false;
}

const char *status_text(int status)
{
    switch (status) {
    case 200:
        return "200 OK";
    case 206:
        return "206 Partial Content";
    case 404:
        return "404 Not Found";
    case 405:
        return "405 Method Not Allowed";
    case 408:
        return "408 Request Timeout";
    case 413:
        return "413 Content Too Large";
    case 416:
        return "416 Range Not Satisfiable";
    case 417:
        return "417 Expectation Failed";
    case 431:
        return "431 Request Header Fields Too Large";
    case 501:
        return "501 Not Implemented";
    case 505:
        return "505 HTTP Version Not Supported";
    default:
        return "400 Bad Request";
    }
}
