/* coir.h - all of libcoir. */
#ifndef COIR_H
#define COIR_H

#include <coir/base.h>
#include <coir/ctx.h>
#include <coir/stack.h>
#include <coir/coro.h>
#include <coir/loop.h>
#include <coir/op.h>
#include <coir/hub.h>
#include <coir/sync.h>
#include <coir/sim.h>
#include <coir/net.h>
#include <coir/pool.h>
#include <coir/file.h>
#include <coir/dns.h>
#include <coir/websocket.h>
#include <coir/look.h>
#include <coir/process.h>
#include <coir/http.h>
#include <coir/http_server.h>

#endif
