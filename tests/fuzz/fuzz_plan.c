/* Plan text: any bytes end in a plan or a typed error; a plan reads back from its own text; the validator, the grid and
 * the simulator hold out against any plan that can be written. */
#include "coordinator/schedule/simulator.h"

#include <stdlib.h>
#include <string.h>

static void require(bool holds)
{
    if (!holds)
        abort();
}

static void read_back(const sc_plan *plan)
{
    char *text = sc_plan_text(plan);
    require(text != NULL);
    sc_plan *again = NULL;
    require(sc_plan_parse(text, strlen(text), &again) == SC_OK);
    char *text_again = sc_plan_text(again);
    require(text_again != NULL && strcmp(text, text_again) == 0);
    free(text);
    free(text_again);
    sc_plan_destroy(&again);
}

static void simulate(const sc_plan *plan, bool valid)
{
    static sc_sim_stage_cost stages[SC_MAX_STAGES * SC_MAX_CHUNKS];
    for (int v = 0; v < sc_plan_n_stages(plan); v++)
        stages[v] = (sc_sim_stage_cost){.forward_seconds = 1,
                                        .backward_input_seconds = 1,
                                        .backward_weight_seconds = 1,
                                        .saved_bytes = 3,
                                        .weight_bytes = 1,
                                        .output_bytes = 1};
    sc_sim_costs costs = {.stages = stages, .tied_bytes = 1, .link_bytes_per_second = 1, .keep_timeline = true};
    sc_sim_result result;
    sc_status status = sc_simulate(plan, &costs, &result);
    require(!valid || status == SC_OK);
    sc_sim_result_clear(&result);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    sc_plan *plan = NULL;
    if (sc_plan_parse((const char *)data, n, &plan) != SC_OK) {
        require(plan == NULL);
        return 0;
    }
    read_back(plan);
    bool valid = sc_plan_validate(plan, false) == SC_OK;
    valid |= sc_plan_validate(plan, true) == SC_OK;
    simulate(plan, valid);
    FILE *out = fopen("/dev/null", "w");
    require(out != NULL);
    sc_plan_print_grid(plan, out, 0, 1);
    fclose(out);
    sc_plan_destroy(&plan);
    return 0;
}
