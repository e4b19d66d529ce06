/* cxx.cc - what only C++ programs can do: the defaults of arguments, and
 * libev's own ev++.h, on whatever EV_H is. */
#include "case.h"

#include <ev++.h>

CASE(default_arguments)
{
    struct ev_loop *loop = ev_default_loop();
    ev_timer w;
    ev_timer_init(&w, say_timer, 0, 0);
    NAME(&w, "timer");
    ev_timer_start(loop, &w);
    say("runs on %d", ev_run(loop));
    ev_break(loop);
    struct ev_loop *other = ev_loop_new();
    ev_loop_destroy(other);
    say("destroyed");
}

struct object {
    void on_io(ev::io &w, int revents)
    {
        say("io: %s", names_of(revents));
        w.stop();
    }

    void on_timer(ev::timer &w, int revents)
    {
        static int times;
        say("timer: %s", names_of(revents));
        if (++times == 2)
            w.stop();
    }

    void on_async(ev::async &w, int revents)
    {
        say("async: %s", names_of(revents));
        w.stop();
    }

    void operator()(ev::idle &w, int revents)
    {
        say("idle: %s", names_of(revents));
        w.stop();
    }
};

CASE(evpp_watchers)
{
    ev::default_loop loop;
    object o;
    int fds[2];
    make_pipe(fds);
    ev::io io;
    io.set<object, &object::on_io>(&o);
    io.start(fds[1], ev::WRITE);
    ev::timer timer(loop);
    timer.set<object, &object::on_timer>(&o);
    timer.start(0.01, 0.01);
    ev::async async;
    async.set<object, &object::on_async>(&o);
    async.start();
    async.send();
    ev::idle idle;
    idle.set(&o);
    idle.set_(&o, NULL);
    say("active %d %d %d %d", io.is_active(), timer.is_active(),
        async.is_active(), idle.is_active());
    loop.run();
    say("active %d %d %d", io.is_active(), timer.is_active(),
        async.is_active());
}

static void
plain(ev::timer &w, int revents)
{
    say("%s: %s", (const char *)w.data, names_of(revents));
}

CASE(evpp_dynamic_loop)
{
    ev::dynamic_loop loop(ev::AUTO);
    ev::timer timer(loop);
    char text[] = "plain";
    timer.set<plain>(text);
    timer.start(0.001);
    loop.run(0);
    say("depth %u, backend %d", loop.depth(), loop.backend() != 0);
    timer.start(5);
    say("remaining %d", timer.remaining() > 4);
    timer.stop();
}

CASE(evpp_destructor_stops)
{
    ev::default_loop loop;
    {
        ev::timer timer;
        timer.set<plain>();
        timer.start(5, 5);
        say("active %d", timer.is_active());
    }
    loop.run();
    say("nothing is active");
}
