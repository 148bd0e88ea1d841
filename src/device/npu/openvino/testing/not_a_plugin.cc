// A library without the plug-in's entry point.
extern "C" int lem_something_else() { return 1; }
