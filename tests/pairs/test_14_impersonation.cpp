#include "tests/harness/launcher.hpp"
