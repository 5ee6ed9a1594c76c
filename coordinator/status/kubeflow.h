/* Progress for Kubeflow Trainer, so that a TrainJob's status.trainerStatus says how far the run is.
 *
 * Mental model. In a pod of a TrainJob the controller sets three variables of the environment: where to report, by whose
 * certificate to know that place, and a file with the token that proves the pod to it. While they are there, a thread of its own
 * looks at the board and posts what is new, every SC_KUBEFLOW_EVERY_MS at most, and once more at the end. The run never waits for
 * it, but for the last report, SC_KUBEFLOW_LAST_MS at most. A report that fails is said once, and so is the first that comes
 * through again; none is repeated, since the next one is newer.
 *
 * Source: Kubeflow Trainer, proposal KEP-2779 "Track TrainJob progress and expose training metrics", and the user guide "TrainJob
 * Progress and Training Metrics" of Trainer 2.2 (feature gate TrainJobStatus, alpha): variables KUBEFLOW_TRAINER_SERVER_URL,
 * KUBEFLOW_TRAINER_SERVER_CA_CERT and KUBEFLOW_TRAINER_SERVER_TOKEN (both paths of files; the token is replaced from time to time,
 * so that it is read anew for each report), at most one report in 5 seconds, and the document of sc_kubeflow_document. Drafts of
 * the proposal called them KUBEFLOW_TRAINER_STATUS_...; no release did. */
#ifndef SC_KUBEFLOW_H
#define SC_KUBEFLOW_H

#include "coordinator/status/board.h"

enum { SC_KUBEFLOW_EVERY_MS = 5000, SC_KUBEFLOW_POST_MS = 5000, SC_KUBEFLOW_LAST_MS = 6000 };

typedef struct sc_kubeflow sc_kubeflow;

typedef struct sc_kubeflow_options {
    const char *url;                  /* https */
    const char *ca_file, *token_file; /* NULL: the system's authorities; no token */
} sc_kubeflow_options;

/* From the environment. False: this is no TrainJob's pod, or its cluster wants no reports. */
bool sc_kubeflow_find(sc_kubeflow_options *out);

/* {"trainerStatus": {"progressPercentage": 0..100, "estimatedRemainingSeconds": seconds, "metrics": [{"name": "loss",
 * "value": "1.25"}, ...], "lastUpdatedTime": "2026-01-31T12:00:00Z"}}. What is not known is left out; 100 is for a run that has done
 * all its steps and its last words. Returns owned, NULL if memory ran out. Pure. */
char *sc_kubeflow_document(const sc_board_view *view);

/* Borrows the board until sc_kubeflow_stop; copies the options. Returns owned. Errors: SC_RESOURCE_EXHAUSTED. */
sc_status sc_kubeflow_start(const sc_kubeflow_options *options, sc_board *board, sc_kubeflow **out);
void sc_kubeflow_stop(sc_kubeflow **self_p);

#endif
