"""The small model: cut out of the large one, then taught its order of passages.

`cut` keeps some layers. A narrower student also keeps only the principal components of the hidden states, the attention heads
and the neurons that add most to them, in the manner of SliceGPT (Ashkboos et al., ICLR 2024). That is a start, not a model:
`train` does the rest.
"""

import random
import time

import numpy as np
import torch
import torch.nn.functional as F
from transformers import BertConfig, BertForSequenceClassification

from encoder import padded, pair

PARTS = 4  # a step's pairs are run in so many parts of like length, so that little padding is computed


def cut(teacher, layers, hidden, heads, intermediate, sample):
    """A student with the `layers` of `teacher` and the given widths; `sample`: pairs on which states are looked at."""
    wide = teacher.config
    config = BertConfig.from_dict({**wide.to_dict(), "num_hidden_layers": len(layers), "hidden_size": hidden,
                                   "num_attention_heads": heads, "intermediate_size": intermediate,
                                   "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0, "num_labels": 1})
    student = BertForSequenceClassification(config)
    student.set_attn_implementation("eager")  # torch's fused attention is slow to train in bf16 on a processor
    if hidden == wide.hidden_size:
        kept = {f"bert.encoder.layer.{layer}.": f"bert.encoder.layer.{index}." for index, layer in enumerate(layers)}
        weights = {}
        for name, tensor in teacher.state_dict().items():
            prefix = next((p for p in kept if name.startswith(p)), None)
            if prefix or "encoder.layer" not in name:
                weights[name.replace(prefix, kept[prefix]) if prefix else name] = tensor.clone()
        student.load_state_dict(weights)
    else:
        _slice(teacher, student, layers, sample)
    return student


@torch.no_grad()
def _slice(teacher, student, layers, sample):
    """Copies into the narrow `student` what acts on the principal components of the teacher's hidden states."""
    seen = {}  # name -> inputs of that linear layer at real tokens, [tokens, width]
    ids, types, mask = padded(sample)
    real = mask.bool()
    hooks = [module.register_forward_pre_hook(lambda _, inputs, name=name: seen.__setitem__(name, inputs[0][real]))
             for name, module in teacher.named_modules() if isinstance(module, torch.nn.Linear) and "encoder" in name]
    states = teacher(input_ids=ids, token_type_ids=types, attention_mask=mask, output_hidden_states=True).hidden_states
    for hook in hooks:
        hook.remove()
    states = [state[real] for state in states]
    means = [state.mean(0) for state in states]
    covariance = sum((state - mean).T @ (state - mean) for state, mean in zip(states, means))
    basis = torch.linalg.eigh(covariance).eigenvectors[:, -student.config.hidden_size:]  # [wide, narrow]

    def scale(state, mean):
        """What the narrow layer norm divides by."""
        return ((state - mean) @ basis).pow(2).mean().sqrt()

    def reads(narrow, wide, state, rows=slice(None)):
        """`narrow` computes the `rows` of `wide` from a normalized state."""
        mean = state.mean(0)
        narrow.weight.copy_(wide.weight[rows] @ basis * scale(state, mean))
        narrow.bias.copy_(wide.bias[rows] + wide.weight[rows] @ mean)

    def writes(narrow, wide, state, columns):
        """`narrow` adds to a normalized state what the `columns` of `wide` add."""
        by = scale(state, state.mean(0))
        narrow.weight.copy_(basis.T @ wide.weight[:, columns] / by)
        narrow.bias.copy_(basis.T @ wide.bias / by)

    old, new = teacher.bert.embeddings, student.bert.embeddings
    position, kind = old.position_embeddings.weight[:128].mean(0), old.token_type_embeddings.weight.mean(0)
    raw = old.word_embeddings.weight + position + kind
    spread = raw.std(-1, unbiased=False).mean()
    by = scale(states[0], means[0])
    new.word_embeddings.weight.copy_((old.LayerNorm(raw) - means[0]) @ basis / by)
    for name, middle in (("position_embeddings", position), ("token_type_embeddings", kind)):
        offset = (getattr(old, name).weight - middle) / spread * old.LayerNorm.weight
        getattr(new, name).weight.copy_(offset @ basis / by)

    head_size = student.config.hidden_size // student.config.num_attention_heads
    for index, layer in enumerate(layers):
        wide, narrow = teacher.bert.encoder.layer[layer], student.bert.encoder.layer[index]
        name = f"bert.encoder.layer.{layer}."
        context, active = seen[name + "attention.output.dense"], seen[name + "output.dense"]
        added = context.std(0) * wide.attention.output.dense.weight.norm(dim=0)
        best = added.view(-1, head_size).pow(2).sum(-1).topk(student.config.num_attention_heads).indices
        head_rows = torch.cat([torch.arange(h * head_size, (h + 1) * head_size) for h in best])
        neurons = (active.std(0) * wide.output.dense.weight.norm(dim=0)).topk(student.config.intermediate_size).indices
        for part in ("query", "key", "value"):
            reads(getattr(narrow.attention.self, part), getattr(wide.attention.self, part), states[layer], head_rows)
        writes(narrow.attention.output.dense, wide.attention.output.dense, states[layer], head_rows)
        reads(narrow.intermediate.dense, wide.intermediate.dense, seen[name + "intermediate.dense"], neurons)
        writes(narrow.output.dense, wide.output.dense, seen[name + "intermediate.dense"], neurons)
    units = teacher.classifier.weight[0].abs().topk(student.config.hidden_size).indices
    reads(student.bert.pooler.dense, teacher.bert.pooler.dense, states[-1], units)
    student.classifier.weight.copy_(teacher.classifier.weight[:, units])
    student.classifier.bias.copy_(teacher.classifier.bias)


def distillation_loss(student, teacher):
    """KL from the teacher's softmax over each list, and the squared error of all its margins (Hofstätter et al. 2020).

    Both `[lists, passages]`. A list's common offset costs nothing.
    """
    divergence = F.kl_div(F.log_softmax(student, -1), F.log_softmax(teacher, -1), log_target=True, reduction="batchmean")
    apart = student - teacher
    return divergence + 0.05 * (apart - apart.mean(-1, keepdim=True)).pow(2).mean()


def epochs(lists, lists_a_step, draw):
    """Endless steps of `lists` in a fresh order each time round."""
    while True:
        order = list(range(len(lists)))
        draw.shuffle(order)
        for start in range(0, len(order) - lists_a_step + 1, lists_a_step):
            yield [lists[i] for i in order[start:start + lists_a_step]]


def train(student, lists, steps, tokens_max, questions, passages, rate, seed=7):
    """Trains for so many `steps`, each on the next of `lists`: a list of `(question, passages, logits)`.

    The learning rate rises over the first 4 % of the steps, then falls in a straight line. `questions`, `passages`: token ids by
    index; a pair is cut to `tokens_max`.
    """
    draw = random.Random(seed)
    matrices = [p for p in student.parameters() if p.dim() > 1]
    vectors = [p for p in student.parameters() if p.dim() <= 1]
    optimizer = torch.optim.AdamW([{"params": matrices, "weight_decay": 0.01}, {"params": vectors, "weight_decay": 0.0}],
                                  lr=rate, betas=(0.9, 0.98), fused=True)
    student.train()
    losses, began = [], time.monotonic()
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = rate * min((step + 1) / (0.04 * steps), 1.01 - step / steps)
        batch = next(lists)
        pairs = [pair(_worn(questions[q], draw), passages[p], tokens_max) for q, ps, _ in batch for p in ps]
        order = np.argsort([len(ids) for ids, _ in pairs], kind="stable")
        scores = []
        for part in np.array_split(order, PARTS):
            ids, types, mask = padded([pairs[i] for i in part])
            with torch.autocast("cpu", dtype=torch.bfloat16):
                scores.append(student(input_ids=ids, token_type_ids=types, attention_mask=mask).logits[:, 0].float())
        target = torch.from_numpy(np.stack([logits for *_, logits in batch]))
        loss = distillation_loss(torch.cat(scores)[torch.from_numpy(np.argsort(order))].view_as(target), target)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(student.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
        if (step + 1) % 100 == 0:
            speed = (step + 1) * len(pairs) / (time.monotonic() - began)
            print(f"student: step {step + 1} of {steps}, loss {np.mean(losses[-100:]):.4f}, {speed:.0f} pairs/s", flush=True)
    student.eval()


def _worn(question, draw):
    """The question as people also type it: at times without its question mark."""
    return question[:-1] if len(question) > 2 and question[-1] == QUESTION_MARK and draw.random() < 0.5 else question


QUESTION_MARK = 1029  # "?" in BERT's uncased vocabulary
