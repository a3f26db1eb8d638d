// Compiles with FIELD=prompt, and must not with FIELD=promt.
#include "leyden/request.hpp"

leyden::GenerateRequest request() { return {.FIELD = "a lighthouse"}; }
