// What a page can do beyond its forms. Without it, everything but live progress works.
