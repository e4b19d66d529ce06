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

struct counter {
    int calls;

    counter() : calls(0)
    {
    }

    void on_signal(ev::sig &w, int revents)
    {
        say("signal: %s", names_of(revents));
        w.stop();
    }

    void on_child(ev::child &w, int revents)
    {
        say("child: %s, status %d", names_of(revents), WEXITSTATUS(w.rstatus));
        w.stop();
    }

    void on_periodic(ev::periodic &w, int revents)
    {
        say("periodic: %s", names_of(revents));
        w.stop();
    }

    void on_prepare(ev::prepare &w, int revents)
    {
        say("prepare: %s", names_of(revents));
        w.stop();
    }

    void on_check(ev::check &w, int revents)
    {
        say("check: %s", names_of(revents));
        w.stop();
    }

    void on_stat(ev::stat &, int)
    {
        calls++;
    }

    void on_once(int revents)
    {
        say("once: %s", names_of(revents));
        calls++;
    }
};

CASE(evpp_more_watchers)
{
    ev::default_loop loop;
    counter c;
    ev::sig sig;
    sig.set<counter, &counter::on_signal>(&c);
    sig.start(SIGUSR1);
    (void)raise(SIGUSR1);
    loop.run(ev::ONCE);
    ev::child child;
    child.set<counter, &counter::on_child>(&c);
    pid_t pid = fork();
    need(pid >= 0, "fork");
    if (pid == 0)
        _exit(9);
    child.start(pid);
    loop.run();
    ev::periodic periodic;
    periodic.set<counter, &counter::on_periodic>(&c);
    periodic.start(0, 0.01);
    loop.run();
    ev::prepare prepare;
    prepare.set<counter, &counter::on_prepare>(&c);
    prepare.start();
    ev::check check;
    check.set<counter, &counter::on_check>(&c);
    check.start();
    loop.run(ev::NOWAIT);
    ev::stat stat;
    stat.set<counter, &counter::on_stat>(&c);
    stat.start("/", 0);
    stat.update();
    say("exists %d", stat.attr.st_nlink != 0);
    stat.stop();
    say("calls %d", c.calls);
}

CASE(evpp_loop)
{
    ev::default_loop loop;
    counter c;
    loop.once<counter, &counter::on_once>(-1, 0, 0.001, &c);
    loop.run();
    ev::timer timer;
    timer.set<plain>();
    NAME(&timer, "timer");
    timer.feed_event(EV_CUSTOM);
    timer.feed_event(ev::TIMER);
    loop.run(ev::NOWAIT);
    loop.ref();
    loop.unref();
    say("calls %d, default %d, iteration %d", c.calls, loop.is_default(),
        loop.iteration() > 0);
    timer.set(5);
    timer.priority = 2;
    timer.start();
    timer.priority = 2;
    say("now %d", loop.now() > 0);
    timer.again();
    say("active %d", timer.is_active());
}
