# %% wrong: "gradients stay as they are.": a worker divides them by the number of workers in place, and the server only adds.
import torch


def parameter_server_step(parameters, gradients, owners, n_servers, comm, update):
    workers = range(n_servers, comm.world_size)
    if comm.rank >= n_servers:
        for key, owner in owners.items():
            comm.send(gradients[key].div_(len(workers)), owner)
        for key, owner in owners.items():
            pulled = comm.recv(torch.empty_like(parameters[key]), owner)
            with torch.no_grad():
                parameters[key].copy_(pulled)
        return
    for key in [key for key, owner in owners.items() if owner == comm.rank]:
        total = torch.zeros_like(parameters[key])
        for worker in workers:
            total += comm.recv(torch.empty_like(total), worker)
        update(key, parameters[key], total)
        for worker in workers:
            comm.send(parameters[key], worker)

# %% wrong: "before it receives the next key, in the order of owners": a server goes in the order of its own dict of parameters.
import torch


def parameter_server_step(parameters, gradients, owners, n_servers, comm, update):
    workers = range(n_servers, comm.world_size)
    if comm.rank >= n_servers:
        for key, owner in owners.items():
            comm.send(gradients[key], owner)
        for key, owner in owners.items():
            pulled = comm.recv(torch.empty_like(parameters[key]), owner)
            with torch.no_grad():
                parameters[key].copy_(pulled)
        return
    for key in list(parameters):
        total = torch.zeros_like(parameters[key])
        for worker in workers:
            total += comm.recv(torch.empty_like(total), worker)
        update(key, parameters[key], total / len(workers))
        for worker in workers:
            comm.send(parameters[key], worker)

# %% wrong: "A worker sends its gradients in the order of owners": in the order of its dict of gradients.
import torch


def parameter_server_step(parameters, gradients, owners, n_servers, comm, update):
    workers = range(n_servers, comm.world_size)
    if comm.rank >= n_servers:
        for key, gradient in gradients.items():
            comm.send(gradient, owners[key])
        for key, owner in owners.items():
            pulled = comm.recv(torch.empty_like(parameters[key]), owner)
            with torch.no_grad():
                parameters[key].copy_(pulled)
        return
    for key in [key for key, owner in owners.items() if owner == comm.rank]:
        total = torch.zeros_like(parameters[key])
        for worker in workers:
            total += comm.recv(torch.empty_like(total), worker)
        update(key, parameters[key], total / len(workers))
        for worker in workers:
            comm.send(parameters[key], worker)

# %% wrong: "Call it on the key's server, once a step for each key": not for keys without entries.
import torch


def parameter_server_step(parameters, gradients, owners, n_servers, comm, update):
    workers = range(n_servers, comm.world_size)
    if comm.rank >= n_servers:
        for key, owner in owners.items():
            comm.send(gradients[key], owner)
        for key, owner in owners.items():
            pulled = comm.recv(torch.empty_like(parameters[key]), owner)
            with torch.no_grad():
                parameters[key].copy_(pulled)
        return
    for key in [key for key, owner in owners.items() if owner == comm.rank]:
        total = torch.zeros_like(parameters[key])
        for worker in workers:
            total += comm.recv(torch.empty_like(total), worker)
        if total.numel():
            update(key, parameters[key], total / len(workers))
        for worker in workers:
            comm.send(parameters[key], worker)

# %% wrong: "every worker's are the servers', all in place": a worker's tensor is given the memory of the message, and who shares its old memory (a view, a tied weight) does not see the step.
import torch


def parameter_server_step(parameters, gradients, owners, n_servers, comm, update):
    workers = range(n_servers, comm.world_size)
    if comm.rank >= n_servers:
        for key, owner in owners.items():
            comm.send(gradients[key], owner)
        for key, owner in owners.items():
            pulled = comm.recv(torch.empty_like(parameters[key]), owner)
            parameters[key].data = pulled
        return
    for key in [key for key, owner in owners.items() if owner == comm.rank]:
        total = torch.zeros_like(parameters[key])
        for worker in workers:
            total += comm.recv(torch.empty_like(total), worker)
        update(key, parameters[key], total / len(workers))
        for worker in workers:
            comm.send(parameters[key], worker)

# %% wrong: "Call it on the key's server, once a step for each key": not where the mean has an infinity or a NaN.
import torch


def parameter_server_step(parameters, gradients, owners, n_servers, comm, update):
    workers = range(n_servers, comm.world_size)
    if comm.rank >= n_servers:
        for key, owner in owners.items():
            comm.send(gradients[key], owner)
        for key, owner in owners.items():
            pulled = comm.recv(torch.empty_like(parameters[key]), owner)
            with torch.no_grad():
                parameters[key].copy_(pulled)
        return
    for key in [key for key, owner in owners.items() if owner == comm.rank]:
        total = torch.zeros_like(parameters[key])
        for worker in workers:
            total += comm.recv(torch.empty_like(total), worker)
        if total.isfinite().all():
            update(key, parameters[key], total / len(workers))
        for worker in workers:
            comm.send(parameters[key], worker)

# %% wrong: "n_servers: ranks 0 to n_servers - 1 are servers, the others workers" and "A server may own no key.": the servers are counted by the owners, so a last one without a key is taken for a worker.
import torch


def parameter_server_step(parameters, gradients, owners, n_servers, comm, update):
    n_servers = max(owners.values()) + 1
    workers = range(n_servers, comm.world_size)
    if comm.rank >= n_servers:
        for key, owner in owners.items():
            comm.send(gradients[key], owner)
        for key, owner in owners.items():
            pulled = comm.recv(torch.empty_like(parameters[key]), owner)
            with torch.no_grad():
                parameters[key].copy_(pulled)
        return
    for key in [key for key, owner in owners.items() if owner == comm.rank]:
        total = torch.zeros_like(parameters[key])
        for worker in workers:
            total += comm.recv(torch.empty_like(total), worker)
        update(key, parameters[key], total / len(workers))
        for worker in workers:
            comm.send(parameters[key], worker)

# %% right: gradients are received into the rows of one tensor, whose mean is taken.
import torch


def parameter_server_step(parameters, gradients, owners, n_servers, comm, update):
    servers, everybody = n_servers, range(comm.world_size)
    others = [rank for rank in everybody if rank >= servers]
    if comm.rank in others:
        for key in owners:
            comm.send(gradients[key].detach(), owners[key])
        for key in owners:
            found = torch.empty(parameters[key].shape, dtype=parameters[key].dtype, device=parameters[key].device)
            comm.recv(found, owners[key])
            parameters[key].data[...] = found
    else:
        for key, owner in owners.items():
            if owner != comm.rank:
                continue
            rows = torch.empty(len(others), *parameters[key].shape, dtype=parameters[key].dtype, device=parameters[key].device)
            for row, worker in zip(rows, others):
                comm.recv(row, worker)
            update(key, parameters[key], rows.mean(dim=0))
            for worker in others:
                comm.send(parameters[key], worker)

# %% right: adds from the highest worker down, and divides each gradient before it is added.
import torch


def parameter_server_step(parameters, gradients, owners, n_servers, comm, update):
    workers = range(n_servers, comm.world_size)
    if comm.rank >= n_servers:
        for key, owner in owners.items():
            comm.send(gradients[key], owner)
        for key, owner in owners.items():
            pulled = comm.recv(torch.empty_like(parameters[key]), owner)
            with torch.no_grad():
                parameters[key].copy_(pulled)
        return
    for key in [key for key, owner in owners.items() if owner == comm.rank]:
        total = torch.zeros_like(parameters[key])
        for worker in reversed(workers):
            total += comm.recv(torch.empty_like(total), worker) / len(workers)
        update(key, parameters[key], total)
        for worker in workers:
            comm.send(parameters[key], worker)
