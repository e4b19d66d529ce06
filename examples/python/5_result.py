"""What a greenlet's function returns is what its parent's switch returns."""

from coir.greenlet import greenlet


def func1():
    print("enter func1()")
    gr2.switch()
    print("out func2()")  # never: gr2 ends and goes on in the main greenlet


def func2():
    print("enter func2()")
    print("out func2()")
    return "return from func2"


gr1 = greenlet(func1)
gr2 = greenlet(func2)
print(gr1.switch())
